"""Metrics: what labels may hold."""

from __future__ import annotations

from rps_proxy.control.metrics import MOST_CLUSTERS, sessions_by_cluster


def test_clusters_are_few_and_look_like_some() -> None:
    found: list[tuple[str | None, str, int]]
    found = [(f"c{number:02}", "ready", 100 - number) for number in range(30)]
    found += [
        (None, "issued", 500),
        ('a"b', "ready", 500),
        ("x" * 33, "gone", 1),
        ("C00", "ready", 1),
    ]
    samples = sessions_by_cluster(found)
    clusters = {labels["cluster"] for labels, _ in samples}
    assert len(clusters) <= MOST_CLUSTERS + 1
    assert {"c00", "none", "other"} <= clusters
    assert "c29" not in clusters
    by_labels = {(labels["cluster"], labels["phase"]): number for labels, number in samples}
    assert by_labels["c00", "ready"] == 101
    assert by_labels["none", "issued"] == 500
    assert by_labels["other", "gone"] == 1
    assert sum(by_labels.values()) == sum(number for _, _, number in found)


def test_an_empty_registry_has_its_phases() -> None:
    samples = sessions_by_cluster([])
    assert [labels["phase"] for labels, _ in samples] == ["issued", "linked", "ready", "gone"]
