"""The files of `deploy/` except the proxies': their own programs accept them, and their settings exist."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from broker.broker import Broker
from broker.clock import SystemClock
from broker.config import Settings, add_flags, settings_from, unknown_variables
from events.memory import MemoryLog
from events.redis.open import open_log
from mcp_facade.bootstrap import HEALTH_PATH, READY_PATH, Unready
from mcp_facade.workers.process import ENDED_WITHIN_S
from tests.deploy.proxies import DEPLOY, ROOT, program, substituted
from tests.deploy.workers import wait_until_ready
from tests.support.engines.redis import running
from tests.support.log_contract import PickledStates
from tests.support.process import free_port, inherited_environment

PROMQL = {"and", "by", "count", "for", "histogram_quantile", "job", "max", "on", "or", "rate", "sum", "unless"}
"""Words of the alerts that name no metric."""


def settings_of(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Return the settings of `serve` for a command line and an environment; both must be valid."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_flags(parser)
    assert unknown_variables(environment) == []
    return settings_from(parser.parse_args(arguments), environment)


def read_yaml(name: str) -> Any:
    """Return a document of `deploy/`."""
    return yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))


class TestUnit:
    """`chat-broker.service`."""

    TEXT = (DEPLOY / "chat-broker.service").read_text(encoding="utf-8")

    def value(self, name: str) -> str:
        """Return the only value of a setting of the unit."""
        (found,) = re.findall(rf"^{name}=((?:.*\\\n)*.*)", self.TEXT, re.MULTILINE)
        return str(found.replace("\\\n", " "))

    def test_its_command_is_valid_with_the_log_of_its_comment(self) -> None:
        """Flags, values and the file of variables are valid."""
        _, command, *arguments = shlex.split(self.value("ExecStart"))
        assert command == "serve"
        variable, _, url = re.search(r"^#   (CHAT_BROKER_LOG)(=)(.*)", self.TEXT, re.MULTILINE).groups()
        settings = settings_of(arguments, {variable: url})
        assert (settings.workers, settings.admin_port, settings.log) == (4, 9000, url)

    def test_it_gives_the_workers_the_time_that_they_take(self) -> None:
        """The service manager waits longer than the workers need to end by themselves."""
        assert int(self.value("TimeoutStopSec")) > ENDED_WITHIN_S + 1

    def test_systemd_takes_it(self, tmp_path: Path) -> None:
        """`systemd-analyze verify` finds no unknown or invalid line."""
        analyze = program("systemd-analyze", "systemd")
        unit = tmp_path / "chat-broker.service"
        unit.write_text(substituted(unit.name, {"ExecStart=/opt/chat-broker/bin/chat-broker": "ExecStart=/bin/true"}))
        found = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, check=False)
        assert (found.returncode, found.stderr) == (0, "")


class TestCompose:
    """`compose.yaml` and the files that it mounts."""

    SERVICES: Mapping[str, Any] = read_yaml("compose.yaml")["services"]

    def workers(self) -> Mapping[str, Any]:
        """Return the services running the broker."""
        return {name: service for name, service in self.SERVICES.items() if service["image"] == "chat-broker"}

    def test_workers_get_valid_settings(self) -> None:
        """All workers have the same variables: known settings with valid values."""
        assert len(self.workers()) == 2
        (environment,) = {json.dumps(worker["environment"]) for worker in self.workers().values()}
        settings = settings_of([], {**json.loads(environment), "CHAT_BROKER_ALLOW_HOST": "chat.example.com"})
        assert settings.log.startswith("redis://valkey:6379/")
        assert settings.trust_proxies == (self.SERVICES["nginx"]["networks"]["chat"]["ipv4_address"],)

    def test_nginx_and_haproxy_know_the_workers_by_their_addresses(self) -> None:
        """The proxies list the addresses of all workers, and no other."""
        addresses = [f"{worker['networks']['chat']['ipv4_address']}:8000" for worker in self.workers().values()]
        nginx = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
        haproxy = (DEPLOY / "haproxy.cfg").read_text(encoding="utf-8")
        assert re.findall(r"^\s+server ([\d.:]+)", nginx, re.MULTILINE) == addresses
        assert re.findall(r"^\s+server \w+ ([\d.:]+)", haproxy, re.MULTILINE) == addresses

    def test_prometheus_asks_each_worker(self) -> None:
        """Prometheus scrapes each worker by name, at the admin port."""
        (job,) = read_yaml("prometheus.yml")["scrape_configs"]
        (targets,) = job["static_configs"]
        port = next(iter(self.workers().values()))["environment"]["CHAT_BROKER_ADMIN_PORT"]
        assert targets["targets"] == [f"{name}:{port}" for name in self.workers()]

    def test_the_files_it_hands_over_are_there(self) -> None:
        """Every mounted file exists; Docker would create a directory for a missing one."""
        mounts = [mount for service in self.SERVICES.values() for mount in service.get("volumes", ())]
        files = [DEPLOY / mount.partition(":")[0] for mount in mounts if mount.startswith("./")]
        assert len(files) == 3
        assert all(file.is_file() for file in files)
        build = self.workers()["chat-1"]["build"]
        assert ((DEPLOY / build["context"]).resolve(), (ROOT / build["dockerfile"]).is_file()) == (ROOT, True)

    @pytest.mark.anyio
    async def test_its_valkey_keeps_what_it_acknowledges(self) -> None:
        """A real server starts with its settings, and `--log-synchronous full` accepts them."""
        program_name, *settings = self.SERVICES["valkey"]["command"]
        assert program_name == "valkey-server"
        with running("valkey", settings) as server:
            log = await open_log(server.url(), PickledStates(), synchronous="full")
            assert log.survives == "a crash and a power failure, but not the loss of the disk"
            await log.close()


class TestMonitoring:
    """`prometheus.yml` and `alerts.yml`."""

    RULES: Sequence[Mapping[str, Any]] = read_yaml("alerts.yml")["groups"][0]["rules"]

    @pytest.mark.anyio
    async def test_alerts_ask_for_metrics_that_there_are(self) -> None:
        """Every metric in an alert exists; an alert on a misspelt name would never fire."""
        rendered = Broker(MemoryLog(), SystemClock()).metrics.render().decode()
        families = list(text_string_to_metric_families(rendered))
        there = {sample.name for family in families for sample in family.samples} | {"up"}
        there |= {f"{family.name}_total" for family in families if family.type == "counter"}
        for rule in self.RULES:
            without_labels = re.sub(r"\{.*?\}|\[.*?\]|\bby \(.*?\)", "", rule["expr"])
            asked = set(re.findall(r"[a-z_]{2,}", without_labels)) - PROMQL
            assert asked, rule["alert"]
            assert asked <= there, rule["alert"]

    def test_each_alert_is_explained(self) -> None:
        """The page for operators describes each alert."""
        page = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
        assert [rule["alert"] for rule in self.RULES if f"`{rule['alert']}`" not in page] == []

    def test_each_reason_of_readiness_is_explained(self) -> None:
        """The page for operators describes each reason in `/readyz`."""
        page = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
        reasons = [reason for part in get_args(Unready) for reason in (get_args(part) or (part,))]
        assert len(reasons) == 5
        assert [reason for reason in reasons if f"| `{reason}` |" not in page] == []

    def test_promtool_takes_them(self) -> None:
        """`promtool` accepts the expressions and the templates."""
        found = subprocess.run(
            [program("promtool", "prometheus"), "check", "config", str(DEPLOY / "prometheus.yml")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert found.returncode == 0, found.stderr


class TestKubernetes:
    """The Deployment of the page for operators."""

    PAGE = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")

    def test_it_is_valid_and_asks_what_there_is(self) -> None:
        """Its variables are settings, and its probes use served paths and the served port."""
        (text,) = re.findall(r"```yaml\n(.*?)```", self.PAGE, re.DOTALL)
        deployment = yaml.safe_load(text)
        spec = deployment["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        given = {entry["name"]: entry.get("value", "redis://10.0.0.5/") for entry in container["env"]}
        port = settings_of([], given).port
        assert container["ports"] == [{"containerPort": port}]
        probes = [container[probe]["httpGet"] for probe in ("readinessProbe", "livenessProbe")]
        assert probes == [{"path": READY_PATH, "port": port}, {"path": HEALTH_PATH, "port": port}]
        assert spec["terminationGracePeriodSeconds"] > ENDED_WITHIN_S + int(
            container["lifecycle"]["preStop"]["exec"]["command"][1]
        )
        assert spec["enableServiceLinks"] is False


class TestDockerfile:
    """`Dockerfile`, with its steps run in a directory."""

    LINES = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()

    def steps(self, instruction: str) -> list[str]:
        """Return the arguments of each line beginning with `instruction`."""
        return [line.removeprefix(instruction).strip() for line in self.LINES if line.startswith(f"{instruction} ")]

    def copied(self) -> list[list[str]]:
        """Return the sources and the target of each copy in the first stage."""
        return [step.split() for step in self.steps("COPY") if not step.startswith("--from")]

    def test_it_copies_every_package(self) -> None:
        """The image gets every installed package and every file needed for their build."""
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        packages = {name.removesuffix("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]}
        sources = {source for *sources, _ in self.copied() for source in sources}
        assert sources == packages | {"pyproject.toml", "constraints.txt", "README.md", "LICENSE"}
        assert all((ROOT / source).exists() for source in sources)
        sent = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
        assert {line.removeprefix("!") for line in sent if line.startswith("!")} == sources

    def test_it_runs_as_nobody_special(self) -> None:
        """The user and the group are numbers other than 0, so that a cluster's rule can check them."""
        assert all(int(number) > 0 for number in self.steps("USER")[-1].split(":"))

    @pytest.mark.slow
    def test_its_steps_give_a_broker_that_is_healthy(self, tmp_path: Path) -> None:
        """The steps of the image install a broker that starts and passes its health check."""
        for *sources, target in self.copied():
            for source in sources:
                there = tmp_path / "source" / (target if target != "./" else source)
                (shutil.copytree if (ROOT / source).is_dir() else shutil.copyfile)(ROOT / source, _made(there))
        here = str(tmp_path / "installed")
        for step in self.steps("RUN"):
            words = shlex.split(step.replace("/opt/chat-broker", here))
            words[0] = sys.executable if words[0] == "python" else words[0]
            done = subprocess.run(words, cwd=tmp_path / "source", capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        environment = dict(word.split("=", 1) for word in shlex.split(self.steps("ENV")[0]))
        assert environment.pop("PATH").startswith("/opt/chat-broker/bin:")
        port = free_port()
        settings = dict(environment)
        assert settings_of([], settings).host == "0.0.0.0"  # noqa: S104 - a container's own address
        command = [f"{here}/bin/{json.loads(self.steps('ENTRYPOINT')[0])[0]}", *json.loads(self.steps("CMD")[0])]
        environment = inherited_environment() | settings | {"CHAT_BROKER_PORT": str(port)}
        process = subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.DEVNULL)
        try:
            wait_until_ready(process, [port])
            _, words = self.steps("HEALTHCHECK")[0].split("CMD")
            asking = [f"{here}/bin/python" if word == "python" else word for word in json.loads(words)]
            assert subprocess.run([word.replace("8000", str(port)) for word in asking], check=False).returncode == 0
            with socket.create_server(("127.0.0.1", 0)) as silent:
                nothing = [word.replace("8000", str(silent.getsockname()[1])) for word in asking]
                assert subprocess.run(nothing, check=False, stderr=subprocess.DEVNULL).returncode != 0
        finally:
            process.terminate()
            assert process.wait() == 0


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
