"""Every row of every version table, on both sides of its boundary.

What a server says and takes is asked of the simulated server of that version through the real
client and the real description; what a CPU needs is held against the releases that were launched.
"""

import inspect

import pytest
from packaging.specifiers import SpecifierSet

from append_prefill.engines.attach import AttachedEngine
from append_prefill.engines.command import STUBS
from append_prefill.engines.describe import describe_server
from append_prefill.engines.environments import Interpreter
from append_prefill.engines.local import PlantedEngine, SglangEngine
from append_prefill.engines.versions import cpu as cpu_tables
from append_prefill.engines.versions import cpu_packages_after, cpu_stubs, table, traits_of
from append_prefill.engines.waiting import await_ready
from append_prefill.errors import UsageError
from append_prefill.planted.cost import Cost, graph_buckets
from append_prefill.planted.faults import Faults
from append_prefill.planted.protocol import Settings
from append_prefill.probe.client import PrimeRefusedError, TimedClient
from tests.matrix import releases
from tests.matrix.proof import expected, observe
from tests.planted.client import QUICK, client_of, quick_server

PROMPT = list(range(100, 140))
SUFFIX = list(range(5000, 5010))


def served(version, *, faults=None, cost=QUICK, **settings):
    chosen = Settings(sglang_version=version, **settings)
    return quick_server(faults or Faults(), cost=cost, settings=chosen)


def info_paths(version, value):
    with served(version) as server, client_of(server) as client:
        assert [client.get(path).status_code for path in value] == [200, 200]
        newest = table.TABLES["info_paths"][-1][1]
        expected = 200 if value == newest else 404
        assert [client.get(path).status_code for path in newest] == [expected, expected]
        traits = traits_of(version)
        said = describe_server(server.base_url, (traits.server_info_path,), versions={})
        assert said.versions["sglang"] == version
        engine = AttachedEngine(server.base_url)  # knows no version before it asks
        engine.check()
        assert engine.version == version


def retraction_key(version, value):
    with served(version, faults=Faults(retraction=1)) as server:
        with client_of(server) as raw:
            assert raw.stream_generate(PROMPT).last[value] == 1
        with TimedClient(server.base_url) as client:
            assert client.generate(SUFFIX, max_new_tokens=2).retractions == 1


def output_ids(version, value):
    with served(version) as server:
        with client_of(server) as raw:
            lengths = [len(e["output_ids"]) for e in raw.stream_generate(PROMPT, 3).events]
            assert lengths == ([1, 1, 1] if value == "delta" else [1, 2, 3])
        with TimedClient(server.base_url) as client:
            timing = client.generate(SUFFIX, max_new_tokens=3)
        assert timing.completion_tokens == 3
        assert [tokens for tokens, _ in timing.token_times_ms] == [1, 2, 3]


def cached_details(version, value):
    with served(version) as server:
        with client_of(server) as raw:
            raw.stream_generate(PROMPT, 0)
            assert ("cached_tokens_details" in raw.stream_generate(PROMPT).last) is value
        with TimedClient(server.base_url) as client:
            timing = client.generate([*PROMPT, *SUFFIX], max_new_tokens=1)
        assert timing.cached_tokens == len(PROMPT)


def flush_timeout(version, value):
    with served(version, faults=Faults(busy_after=300)) as server:
        with client_of(server) as raw:
            raw.stream_generate(PROMPT)
            status = raw.post("/flush_cache", params={"timeout": 5}).status_code
            assert status == (200 if value else 400)
        with TimedClient(server.base_url) as client:
            client.generate(PROMPT, max_new_tokens=1)
            client.flush_cache()
            assert client.generate(PROMPT, max_new_tokens=1).cached_tokens == 0


def fills_context(version, value):
    with (
        served(version, context_length_tokens=len(PROMPT) + 2) as server,
        TimedClient(server.base_url) as client,
    ):
        # A server keeps a few tokens back, so the shorter prompt and the longer output.
        error = client.generate(PROMPT[:20], max_new_tokens=22).error
    assert (error is None) is value


def stream_error_code(version, value):
    with served(version, context_length_tokens=len(PROMPT)) as server:
        with client_of(server) as raw:
            (event,) = raw.stream_generate(PROMPT, 0).events
            assert ("code" in event["error"]) is value
        with TimedClient(server.base_url) as client, pytest.raises(PrimeRefusedError) as caught:
            client.prime(PROMPT)
        assert caught.value.status == 400


def model_info_names(version, value):
    with served(version) as server:
        with client_of(server) as raw:
            said = raw.get(traits_of(version).model_info_path).json()
        assert ("served_model_name" in said) is value
        engine = AttachedEngine(server.base_url)
        engine.check()
        identity = engine.model_identity()
    assert (identity["name"], identity["weights"]) == ("planted", "dummy")


def freezes_gc(version, value, tmp_path, profile, cpu):
    engine = PlantedEngine({"sglang-version": version}, profile)
    server = engine.start(cpu, tmp_path / "log")
    try:
        await_ready([server])
    finally:
        server.stop()
    assert ("froze the garbage collector" in (tmp_path / "log").read_text()) is value


def found_of_reply(version, tokens):
    """How many of a reply's tokens the turn after it finds in the cache."""
    with served(version) as server, client_of(server) as raw:
        reply = raw.whole_generate(PROMPT, tokens).json()["output_ids"]
        return raw.cached([*PROMPT, *reply, *SUFFIX]) - len(PROMPT)


def uncached_tail_tokens(version, value):
    assert table.uncached_tail_in({"disable_overlap_schedule": False}, version) == value
    assert table.uncached_tail_in({"disable_overlap_schedule": True}, version) == 1
    if traits_of(version).caches_replies:
        assert [found_of_reply(version, tokens) for tokens in (1, 5)] == [1 - value, 5 - value]


def caches_replies(version, value):
    assert (found_of_reply(version, 5) > 0) is value


def streaming_sessions(version, value):
    with served(version) as server, client_of(server) as raw:
        options = {"capacity_of_str_len": 1000, "streaming": True}
        name = raw.post("/open_session", json=options).json()
        for _ in range(2):
            body = {
                "input_ids": PROMPT,
                "sampling_params": {"max_new_tokens": 1},
                "session_params": {"id": name},
            }
            tokens = raw.post("/generate", json=body).json()["meta_info"]["prompt_tokens"]
        # A plain session goes on from no turn unless one is named.
        assert tokens == (2 * len(PROMPT) + 1 if value else len(PROMPT))


def usage_of_none_cached(version, value):
    with served(version) as server, client_of(server) as raw:
        messages = [{"role": "user", "content": "w20 w21"}]
        body = {"messages": messages, "max_tokens": 1}
        usage = raw.post("/v1/chat/completions", json=body).json()["usage"]
        assert usage["prompt_tokens_details"] == ({"cached_tokens": 0} if value else None)


def prefill_graph(version, value):
    for graph, backend in ((True, value.backend), (False, "off")):
        with served(version, cost=Cost(floor_ms=1.0, prefill_graph=graph)) as server:
            paths = (traits_of(version).server_info_path,)
            told = describe_server(server.base_url, paths, versions={})
            assert told.prefill_graph == backend
            assert told.prefill_graph_tokens == (list(graph_buckets(8192)) if graph else [])
    unsaid = table.prefill_graph_in({}, version)
    assert unsaid == (value.backend if value.default_on else "off")


def python(version, value, profile):
    for minor in (9, 10, 11, 12, 13, 14):
        found = Interpreter("/p", {"python": f"3.{minor}.1", "sglang": version})
        engine = SglangEngine("--sglang", found, profile, model=None)
        if SpecifierSet(value).contains(f"3.{minor}.1"):
            engine.check()
        else:
            with pytest.raises(UsageError, match=rf"holds Python 3\.{minor}\.1"):
                engine.check()


def stubs(version, value):
    assert cpu_stubs(version) == value
    assert all((STUBS / tree).is_dir() for tree in value)
    assert releases.known()[version]["stubs"] == list(value)
    assert releases.known()[version]["split_ok"]


def from_metadata(version, value):
    every = {name for _, names in cpu_tables.TABLES["from_metadata"] for name in names}
    _, without = cpu_packages_after(version, sorted(f"{name}==1" for name in every))
    assert {text.partition("==")[0] for text in without} - {"torchvision"} == set(value)
    assert releases.known()[version]["split_ok"]


CHECKS = {
    check.__name__: check
    for check in (
        *(info_paths, retraction_key, output_ids, cached_details, flush_timeout, fills_context),
        *(stream_error_code, model_info_names, freezes_gc, uncached_tail_tokens, caches_replies),
        *(prefill_graph, python, streaming_sessions, usage_of_none_cached),
        *(stubs, from_metadata),
    )
}
TABLES = {**table.TABLES, **cpu_tables.TABLES}


def boundaries():
    """Each row's first version, and the last release of the row before it."""
    ordered = list(releases.known())
    for name, rows in TABLES.items():
        for index, (first, value) in enumerate(rows):
            yield pytest.param(name, first, value, id=f"{name}-{first}")
            if index:
                before = ordered[ordered.index(first) - 1]
                yield pytest.param(name, before, rows[index - 1][1], id=f"{name}-{before}")


def test_every_table_has_a_check():
    assert CHECKS.keys() == TABLES.keys()


@pytest.mark.parametrize(("name", "version", "value"), list(boundaries()))
def test_a_row_of_a_table(name, version, value, request):
    check = CHECKS[name]
    fixtures = list(inspect.signature(check).parameters)[2:]
    check(version, value, *map(request.getfixturevalue, fixtures))


def test_rows_are_in_order_and_begin_with_the_oldest():
    for rows in TABLES.values():
        versions = [table.Version(first) for first, _ in rows]
        assert versions == sorted(set(versions))
        assert str(versions[0]) == table.OLDEST


def test_every_release_on_file_launched_and_proved_a_split():
    """The matrix was run over all of them; one that does not launch would need to be said."""
    on_file = releases.known()
    assert {table.OLDEST, table.NEWEST} <= on_file.keys()
    assert [v for v, row in on_file.items() if not (row["launches"] and row["split_ok"])] == []
    assert all(row["cached_tokens"] == row["context_tokens"] for row in on_file.values())
    # What was proven is what is installed and put on a server's path today.
    assert {v: row["stubs"] for v, row in on_file.items()} == {
        v: list(cpu_stubs(v)) for v in on_file
    }


def test_the_documentation_shows_what_is_on_file():
    page = releases.PAGE.read_text(encoding="utf-8")
    assert page.endswith("\n".join(releases.table()) + "\n")


def test_what_the_real_servers_showed_is_what_the_tables_say():
    for version, row in releases.known().items():
        rules = expected(version)
        # `tox -e matrix` asks a release anew where something was added to what is asked.
        assert row["seen"] == {key: rules[key] for key in row["seen"]}, version


def test_replies_were_asked_for_on_both_sides_of_every_boundary():
    asked = {v for v, row in releases.known().items() if "reply_cached_tokens" in row["seen"]}
    ordered = list(releases.known())
    for name in ("uncached_tail_tokens", "caches_replies"):
        for first, _ in table.TABLES[name][1:]:
            assert {ordered[ordered.index(first) - 1], first} <= asked
    assert {table.OLDEST, table.NEWEST} <= asked


@pytest.mark.parametrize("version", list(releases.known()))
def test_the_simulated_server_of_every_release_shows_the_same(version):
    with served(version, context_length_tokens=512) as server:
        assert observe(server.base_url, 512) == expected(version)
