"""The operations that need a cluster: serve a model, train on several nodes, look a cluster over.

cluster = connect(namespace="ml")
deploy(registry, "champion", cluster, config, probes)     # k8s.serving
run_train_job(cluster, job, store, out=Path("out"))       # k8s.trainjob
check_cluster(cluster, config)                            # k8s.doctor
"""
