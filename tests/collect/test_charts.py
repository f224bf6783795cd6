from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

import pytest

from drainproof.collect import files, tools
from drainproof.collect.lines import Lines
from drainproof.errors import UserError
from tests.collect.trees import CHART, DEPLOYMENT, SCALED_OBJECT, chart, said, write

if TYPE_CHECKING:
    from pathlib import Path

with_helm = pytest.mark.usefixtures("helm")


@with_helm
def test_a_chart_is_rendered_with_its_own_values(tmp_path: Path) -> None:
    snapshot = files.read([chart(tmp_path / "chart")])
    assert [found.replicas for found in snapshot.workloads] == [3]
    assert snapshot.problems == ()


@with_helm
def test_values_come_from_files_in_order_and_then_from_single_ones(tmp_path: Path) -> None:
    write(tmp_path, {"a,b.yaml": "replicas: 4\n", "c.yaml": "replicas: 5\n"})
    folder = chart(tmp_path / "chart")
    by_file = files.read([folder], values=[tmp_path / "a,b.yaml", tmp_path / "c.yaml"])
    by_set = files.read([folder], values=[tmp_path / "c.yaml"], sets=["replicas=6"])
    assert (by_file.workloads[0].replicas, by_set.workloads[0].replicas) == (5, 6)


@with_helm
def test_a_rendered_object_names_its_template_and_no_line(tmp_path: Path) -> None:
    (workload,) = files.read([chart(tmp_path / "chart")]).workloads
    assert workload.file == str(tmp_path / "chart/templates/vllm.yaml")
    assert workload.origin is not None
    assert Lines().find([(workload.origin, "spec.replicas")]) == [0]


@with_helm
def test_an_object_of_a_chart_in_a_chart_names_its_template(tmp_path: Path) -> None:
    chart(tmp_path / "chart/charts/llama")
    chart(
        tmp_path / "chart",
        **{"templates/vllm.yaml": "", "Chart.yaml": "name: all\nversion: 1.0.0\n"},
    )
    (workload,) = files.read([tmp_path]).workloads
    assert workload.file == str(tmp_path / "chart/charts/llama/templates/vllm.yaml")


@with_helm
def test_a_chart_is_found_in_a_folder_beside_manifests_and_joined_with_them(tmp_path: Path) -> None:
    chart(tmp_path / "a/chart")
    write(tmp_path, {"b/scaler.yaml": SCALED_OBJECT, "a/chart/examples/own.yaml": SCALED_OBJECT})
    snapshot = files.read([tmp_path])
    (workload,) = snapshot.workloads
    assert len(snapshot.scalers_for(workload)) == 2


@with_helm
def test_what_a_chart_is_made_of_is_no_manifest(tmp_path: Path) -> None:
    chart(
        tmp_path / "chart",
        **{"values-prod.yaml": DEPLOYMENT, "ci/x.yaml": DEPLOYMENT, "crds/y.yaml": DEPLOYMENT},
    )
    snapshot = files.read([tmp_path])
    assert (len(snapshot.workloads), snapshot.files) == (1, 1)


@with_helm
def test_a_library_chart_is_nothing_by_itself(tmp_path: Path) -> None:
    chart(tmp_path / "lib", **{"Chart.yaml": f"{CHART}type: library\n"})
    chart(tmp_path / "chart")
    snapshot = files.read([tmp_path])
    assert (len(snapshot.workloads), snapshot.problems) == (1, ())


@with_helm
def test_a_packaged_chart_is_rendered(tmp_path: Path) -> None:
    folder = chart(tmp_path / "llama")
    with tarfile.open(tmp_path / "llama-0.1.0.tgz", "w:gz") as package:
        package.add(folder, "llama")
    (workload,) = files.read([tmp_path / "llama-0.1.0.tgz"]).workloads
    assert workload.file == str(tmp_path / "llama-0.1.0.tgz/templates/vllm.yaml")


@with_helm
def test_a_chart_may_be_named_by_its_file(tmp_path: Path) -> None:
    assert len(files.read([chart(tmp_path) / "Chart.yaml"]).workloads) == 1


@with_helm
def test_a_chart_that_asks_for_keda_is_told_that_it_is_there(tmp_path: Path) -> None:
    asks = '{{ if .Capabilities.APIVersions.Has "keda.sh/v1alpha1" }}\n'
    chart(tmp_path, **{"templates/scaler.yaml": f"{asks}{SCALED_OBJECT}{{{{ end }}}}\n"})
    snapshot = files.read([tmp_path])
    assert len(snapshot.scalers_for(snapshot.workloads[0])) == 1


@with_helm
@pytest.mark.parametrize(
    ("template", "problem"),
    [
        (
            "a: {{ .Values.model.name }}\n",
            "chart/templates/x.yaml:1: the chart does not render: ",
        ),
        (
            'a: 1\nb: {{ required "a model is needed" .Values.model }}\n',
            "chart/templates/x.yaml:2: the chart does not render: ",
        ),
        ("a: {{ if }}\n", "chart/templates/x.yaml:1: the chart does not render: "),
        ("a: [\n", "chart/templates/x.yaml: the chart does not render: "),
    ],
)
def test_a_chart_that_does_not_render_names_the_place_and_the_rest_is_read(
    tmp_path: Path, template: str, problem: str
) -> None:
    chart(tmp_path / "chart", **{"templates/x.yaml": template})
    write(tmp_path, {"own.yaml": DEPLOYMENT})
    snapshot = files.read([tmp_path])
    (found,) = said(snapshot, tmp_path)
    assert found.startswith(problem)
    assert len(snapshot.workloads) == 1


@with_helm
def test_a_chart_whose_dependencies_are_not_there_says_how_to_fetch_them(tmp_path: Path) -> None:
    needs = "dependencies: [{name: x, version: 1.0.0, repository: 'http://127.0.0.1:1'}]\n"
    chart(tmp_path, **{"Chart.yaml": CHART + needs})
    (problem,) = files.read([tmp_path]).problems
    assert "helm dependency build" in problem.hint


@with_helm
def test_a_chart_without_a_name_is_named(tmp_path: Path) -> None:
    chart(tmp_path / "chart", **{"Chart.yaml": "version: 1.0.0\n"})
    (found,) = said(files.read([tmp_path]), tmp_path)
    assert found.startswith("chart: the chart does not render: ")


@with_helm
def test_a_chart_cannot_read_outside_of_itself(tmp_path: Path) -> None:
    secret = write(tmp_path, {"secret.txt": "hidden-in-a-file"}) / "secret.txt"
    reads = f'x: {{{{ .Files.Get "../secret.txt" | default (.Files.Get "{secret}") | quote }}}}\n'
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  "
    chart(tmp_path / "chart", **{"templates/x.yaml": config + reads})
    snapshot = files.read([tmp_path / "chart"])
    assert snapshot.problems == ()
    assert b"hidden-in-a-file" not in snapshot.to_json()


@with_helm
@pytest.mark.parametrize("link", ["files/x", "templates/x.yaml", "charts/x"])
def test_a_link_that_leads_out_of_a_chart_is_not_followed(tmp_path: Path, link: str) -> None:
    write(tmp_path, {"secret/x.yaml": DEPLOYMENT})
    path = chart(tmp_path / "chart") / link
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(tmp_path / "secret")
    snapshot = files.read([tmp_path / "chart"])
    assert said(snapshot, tmp_path) == [
        f"chart/{link}: a link in a Helm chart that leads out of it"
    ]
    assert snapshot.items == ()


@with_helm
def test_a_link_to_what_was_named_too_is_followed_and_no_link_further(tmp_path: Path) -> None:
    lib = chart(
        tmp_path / "tree/lib", **{"Chart.yaml": CHART.replace("llama", "lib") + "type: library\n"}
    )
    links = chart(tmp_path / "tree/chart") / "charts"
    links.mkdir()
    (links / "lib").symlink_to(lib)
    assert len(files.read([tmp_path / "tree"]).workloads) == 1
    (lib / "further").symlink_to(tmp_path)
    assert len(files.read([tmp_path / "tree"]).problems) == 1


@with_helm
def test_values_are_never_fetched(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected a file"):
        files.read([chart(tmp_path)], values=["http://127.0.0.1:1/values.yaml"])


@pytest.mark.parametrize("given", [{"values": ["v.yaml"]}, {"sets": ["a=b"]}])
def test_values_without_a_chart_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, list[str]]
) -> None:
    monkeypatch.chdir(write(tmp_path, {"v.yaml": "", "x/a.yaml": DEPLOYMENT}))
    with pytest.raises(UserError, match="are for Helm charts"):
        files.read(["x"], **given)


@with_helm
def test_a_value_that_was_given_is_not_in_the_error(tmp_path: Path) -> None:
    chart(tmp_path, **{"templates/x.yaml": "{{ fail .Values.key }}\n"})
    (problem,) = files.read([tmp_path], sets=["key=correct-horse"]).problems
    assert "correct-horse" not in problem.message
    assert "(a value of --set)" in problem.message


@with_helm
@pytest.mark.parametrize(
    ("written", "secret"),
    [
        ("hf_AbCdEfGhIjKlMnOpQr", "AbCdEf"),
        ("token: squeamish", "squeamish"),
        ("https://me:ossifrage@example.com", "ossifrage"),
    ],
)
def test_a_secret_is_not_in_the_error(tmp_path: Path, written: str, secret: str) -> None:
    chart(
        tmp_path,
        **{"templates/x.yaml": "{{ fail .Values.said }}\n", "values.yaml": f"said: '{written}'\n"},
    )
    (problem,) = files.read([tmp_path]).problems
    assert "(hidden)" in problem.message
    assert secret not in problem.message


@pytest.mark.usefixtures("no_tools")
def test_without_helm_the_rest_is_read_and_it_is_said_what_to_install(tmp_path: Path) -> None:
    chart(tmp_path / "chart")
    write(tmp_path, {"own.yaml": DEPLOYMENT})
    snapshot = files.read([tmp_path])
    (problem,) = snapshot.problems
    assert "helm is not on the PATH" in problem.message
    assert "Install helm" in problem.hint
    assert len(snapshot.workloads) == 1


@with_helm
def test_a_template_that_is_named_by_itself_is_refused_for_its_chart(tmp_path: Path) -> None:
    folder = chart(tmp_path)
    with pytest.raises(UserError, match="a part of a Helm chart") as error:
        files.read([folder / "templates/vllm.yaml"])
    assert error.value.hint == f"Audit the chart: drainproof audit {tmp_path}"


@with_helm
def test_a_chart_that_grows_without_end_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "_MAX_MEMORY", 2**30)
    chart(tmp_path, **{"templates/x.yaml": 'a: {{ repeat 2000000000 "x" }}\n'})
    (problem,) = files.read([tmp_path]).problems
    assert problem.message == "the chart does not render: takes more than 1 GiB of memory to render"


@with_helm
def test_a_chart_that_renders_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "MAX_OUTPUT", 10_000)
    chart(tmp_path, **{"templates/x.yaml": 'a: {{ repeat 20000 "x" }}\n'})
    (problem,) = files.read([tmp_path]).problems
    assert "renders to more than" in problem.message


@with_helm
def test_a_chart_that_takes_too_long_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "TIMEOUT_S", 0.001)
    (problem,) = files.read([chart(tmp_path)]).problems
    assert problem.message == "the chart does not render: not rendered within 0.001 s"


@with_helm
def test_helm_sees_neither_a_cluster_nor_plugins_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = write(tmp_path, {"plugins/x/plugin.yaml": "name: [broken\n"})
    monkeypatch.setenv("HELM_PLUGINS", str(plugin / "plugins"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "broken"))
    monkeypatch.setenv("HELM_NAMESPACE", "of-the-user")
    looks = '{{ lookup "v1" "Namespace" "" "" | toJson }}'
    shows = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\n"
    shows += f"  namespace: {{{{ .Release.Namespace }}}}\ndata: {looks}\n"
    snapshot = files.read([chart(tmp_path / "chart", **{"templates/x.yaml": shows})])
    (config,) = [item.object for item in snapshot.items if item.object["kind"] == "ConfigMap"]
    assert (config["metadata"]["namespace"], config["data"]) == ("default", {})


@with_helm
def test_a_relative_path_stays_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(chart(tmp_path / "deploy/chart").parent.parent)
    (workload,) = files.read(["deploy"]).workloads
    assert workload.file == "deploy/chart/templates/vllm.yaml"
