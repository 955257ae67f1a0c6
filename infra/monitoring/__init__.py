"""What watches a running system: alert rules for Prometheus and a dashboard for Grafana, both written from here.

python -m infra.monitoring           writes rules and their test in infra/prometheus, and infra/grafana/stagedoor.json
python -m infra.monitoring --check   only says whether they are as they would be written
"""
