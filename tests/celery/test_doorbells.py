"""Ringing: in few round trips when many, and with an end when the broker is down or silent."""

from __future__ import annotations

import itertools
import json
import os
import signal
from base64 import b64decode
from contextlib import contextmanager

import pytest
import redis
from celery import signals
from kombu import Connection, Producer

from sagaworker.domain.records import Doorbell
from sagaworker.doorbell import channel, head_of_queue, ready
from sagaworker.doorbell.publisher import Doorbells, direct_queue, verified
from sagaworker.embedded import EmbeddedValkey
from sagaworker.errors import InvalidSetting
from sagaworker.settings import Settings
from tests.celery.stage import Stage
from tests.waiting import PATIENCE, wait_until

BELLS = [Doorbell(saga_id=f"{number:032d}", kind="bulk", key=str(number), step_count=3) for number in range(5000)]


@pytest.fixture
def own_valkey(server_folder):
    """A broker that a test may stop."""
    server = EmbeddedValkey(server_folder / "stopped", durable=False)
    server.start()
    yield server
    server.stop()


def ringer(url):
    return Doorbells.from_settings(Settings(broker_url=url))


@contextmanager
def ends():
    """Fail, and do not hang, where what is within does not end; how soon it does is its time-out's business."""

    def tell(*_):
        pytest.fail(f"the ring must give up by itself, and did not within {PATIENCE:g} s")

    before = signal.signal(signal.SIGALRM, tell)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def length(url, queue="sagas"):
    with redis.Redis.from_url(url) as client:
        return client.llen(queue)


def test_five_thousand_doorbells_are_rung_in_few_round_trips(broker_url):
    bells = ringer(broker_url)
    bells.ring(BELLS[:1])
    with redis.Redis.from_url(broker_url) as client:
        # Commands, not reads of the socket: a long command arrives in as many pieces as the kernel makes of it.
        before = client.info("stats")["total_commands_processed"]
        bells.ring(BELLS)
        commands = client.info("stats")["total_commands_processed"] - before
    assert length(broker_url) == len(BELLS) + 1
    assert commands < len(BELLS) / 5


def test_a_doorbell_goes_to_the_queue_its_saga_names(broker_url):
    ringer(broker_url).ring([Doorbell(saga_id="x", kind="k", queue="billing")])
    assert (length(broker_url, "billing"), length(broker_url)) == (1, 0)


@pytest.mark.parametrize("together", [True, False], ids=["in a batch", "one by one"])
def test_what_was_interrupted_is_delivered_before_what_waits_its_turn(broker_url, together):
    names = ["new", "newer", "interrupted", "newest", "interrupted too"]
    bells = [Doorbell(saga_id=name, kind="k", goes_first=name.startswith("interrupted")) for name in names]
    doorbells = ringer(broker_url)
    for some in [bells] if together else [[bell] for bell in bells]:
        doorbells.ring(some)
    assert taken(broker_url, "sagas", len(names)) == ["interrupted too", "interrupted", "new", "newer", "newest"]


def test_with_another_kombu_what_was_interrupted_takes_its_turn(broker_url, monkeypatch):
    for module in (head_of_queue, ready):
        monkeypatch.setattr(module, "_NEEDED", (*module._NEEDED, "_put_as_it_will_be_called"))
    names = ["new", "interrupted"]
    ringer(broker_url).ring([Doorbell(saga_id=name, kind="k", goes_first=name == "interrupted") for name in names])
    assert taken(broker_url, "sagas", 2) == names


def test_a_channel_keeps_the_client_of_its_commands_as_long_as_its_pool(broker_url):
    with Connection(broker_url) as connection:
        redis_channel = connection.channel()
        channel.keep_client(redis_channel)
        clients = [client_of(redis_channel) for _ in range(2)]
        assert clients[0] is clients[1]
        redis_channel._disconnect_pools()
        assert client_of(redis_channel) is not clients[0]
        assert client_of(redis_channel).ping()


def test_with_another_kombu_a_channel_makes_its_clients_as_before(broker_url, monkeypatch):
    monkeypatch.setattr(channel, "_PARAMETERS", ["self", "as_it_will_be_called"])
    with Connection(broker_url) as connection:
        redis_channel = connection.channel()
        channel.keep_client(redis_channel)
        assert client_of(redis_channel) is not client_of(redis_channel)
    ringer(broker_url).ring(BELLS[:2])
    assert taken(broker_url, "sagas", 2) == [bell.saga_id for bell in BELLS[:2]]


def test_a_channel_of_another_broker_is_left_alone():
    with Connection("memory://") as connection:
        before = dict(vars(connection.default_channel))
        channel.keep_client(connection.default_channel)
        assert vars(connection.default_channel) == before


ODD = [
    Doorbell(saga_id="0198-a", kind="k"),
    Doorbell(saga_id="0198-b", kind="k", key='a "quoted" \\ key\n of ☃', step_count=3, step_name="pay"),
    Doorbell(saga_id="0198-c", kind="k", key=ready.SAGA, goes_first=True),
    Doorbell(saga_id="0198-d", kind="k", queue="billing", priority=3, ledger="that one"),
    Doorbell(saga_id="0198 'e\\", kind="k", ledger="that one"),
]


@pytest.mark.parametrize("together", [True, False], ids=["in a batch", "one by one"])
def test_a_ready_made_doorbell_is_the_one_that_celery_makes(broker_url, monkeypatch, together):
    made = []
    for needed in (ready._NEEDED, (*ready._NEEDED, "_put_as_it_will_be_called")):
        monkeypatch.setattr(ready, "_NEEDED", needed)
        doorbells = ringer(broker_url)
        for some in [ODD] if together else [[bell] for bell in [*ODD, *ODD]]:
            doorbells.ring(some)
        made.append(stored(broker_url))
    assert made[0] == made[1]
    assert len(made[0]) == 2
    assert sum(len(messages) for messages in made[0].values()) == len(ODD) * (1 if together else 2)


def stored(broker_url):
    """The messages of each list in their order, but for what names each; the lists are empty then."""
    names = []
    messages = {}
    with redis.Redis.from_url(broker_url) as client:
        for key in sorted(key for key in client.scan_iter() if client.type(key) == b"list"):
            messages[key] = [json.loads(text) for text in client.lrange(key, 0, -1)]
            client.delete(key)
    for message in itertools.chain(*messages.values()):
        headers, properties = message["headers"], message["properties"]
        assert headers.pop("id") == headers.pop("root_id") == properties["correlation_id"]
        names += [properties.pop("correlation_id"), properties.pop("delivery_tag")]
        properties.pop("reply_to")
        message["body"] = json.loads(b64decode(message["body"]))
    assert len(set(names)) == len(names)
    return messages


def test_whoever_listens_to_what_celery_sends_hears_of_each_doorbell(broker_url):
    bells = ringer(broker_url)
    bells.ring(BELLS[:1])
    heard = []

    def hear(sender, headers, **_):
        heard.append((sender, headers["argsrepr"]))
        headers["traceparent"] = "of the listener"

    signals.before_task_publish.connect(hear)
    try:
        bells.ring(BELLS[:5])
    finally:
        signals.before_task_publish.disconnect(hear)
    assert heard == [("sagaworker.run_saga", f"('{bell.saga_id}',)") for bell in BELLS[:5]]
    sent = stored(broker_url)[b"sagas"]
    assert [message["headers"].get("traceparent") for message in sent] == ["of the listener"] * 5 + [None]


def test_what_stands_in_the_place_of_kombus_publish_is_called(broker_url, monkeypatch):
    bells = ringer(broker_url)
    bells.ring(BELLS[:1])
    called = []
    publish = Producer.publish

    def told(*args, **options):
        called.append(options["routing_key"])
        return publish(*args, **options)

    monkeypatch.setattr(Producer, "publish", told)
    bells.ring(BELLS[:2])
    assert called == ["sagas", "sagas"]


def client_of(redis_channel):
    with redis_channel.conn_or_acquire() as client:
        return client


def test_sagas_do_not_starve_behind_the_tasks_of_another_queue_of_their_worker(broker_url):
    bells = [Doorbell(saga_id=name, kind="k", goes_first=name == "first") for name in ("new", "first", "newest")]
    ringer(broker_url).ring(bells)
    queues_of_one = [direct_queue("celery"), direct_queue("sagas")]
    delivered = []
    with Connection(broker_url) as connection:
        producer = connection.Producer()
        for number in range(50):
            producer.publish({"n": number}, routing_key="celery", exchange="celery", declare=queues_of_one)
        with connection.Consumer(queues_of_one, callbacks=[lambda body, _: delivered.append(body)], no_ack=True):
            while len(delivered) < 53:
                connection.drain_events(timeout=PATIENCE)
    places = [place for place, body in enumerate(delivered) if isinstance(body, list)]
    assert len(places) == 3
    assert places[-1] < 20
    assert delivered[places[0]][0] == ["first"]


def test_what_was_interrupted_passes_no_higher_priority(broker_url):
    low = [Doorbell(saga_id=name, kind="k", priority=9, goes_first=name == "first") for name in ("low", "first")]
    ringer(broker_url).ring([*low, Doorbell(saga_id="high", kind="k", priority=0)])
    assert taken(broker_url, "sagas", 3) == ["high", "first", "low"]


def taken(broker_url, name, count):
    """The ids in the order in which a consumer gets them."""
    with Connection(broker_url) as connection, connection.SimpleQueue(direct_queue(name)) as queue:
        messages = [queue.get(timeout=PATIENCE) for _ in range(count)]
        for message in messages:
            message.ack()
        return [message.decode()[0][0] for message in messages]


def test_a_broker_that_is_down_is_found_out(own_valkey):
    bells = ringer(own_valkey.url)
    bells.ring(BELLS[:1])
    own_valkey.stop()
    for some in (BELLS[:1], BELLS[:100]):
        with ends(), pytest.raises(Exception, match=r"refused|closed"):
            bells.ring(some)
    own_valkey.start()


def test_a_broker_that_does_not_answer_is_not_waited_for(own_valkey):
    bells = ringer(own_valkey.url)
    bells.ring(BELLS[:1])
    with redis.Redis.from_url(own_valkey.url) as client:
        pid = client.info("server")["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        for ringing in (bells, ringer(own_valkey.url)):
            with ends(), pytest.raises(Exception, match=r"[Tt]imeout|delivery is uncertain"):
                ringing.ring(BELLS[:10])
    finally:
        os.kill(pid, signal.SIGCONT)
    bells.ring(BELLS[:1])


def test_a_connection_that_the_broker_closed_meanwhile_is_replaced(broker_url):
    bells = ringer(broker_url)
    bells.ring(BELLS[:1])
    with redis.Redis.from_url(broker_url) as client:
        client.client_kill_filter(_type="normal", skipme=True)
    bells.ring(BELLS[:1])
    assert length(broker_url) == 2


def test_a_forked_child_rings_on_a_connection_of_its_own(broker_url):
    bells = ringer(broker_url)
    bells.ring(BELLS[:1])
    pushed = pushers(broker_url)
    assert len(pushed) == 1
    told, tells = os.pipe()
    stays, leave = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(leave)
        try:
            bells.ring(BELLS[:2])
            os.write(tells, b"rung")
            os.read(stays, 1)  # until the parent has looked
        finally:
            os._exit(0)
    os.close(tells)
    assert os.read(told, 4) == b"rung"
    assert len(pushers(broker_url) - pushed) == 1, "a connection that the parent does not have"
    bells.ring(BELLS[:3])
    assert len(pushers(broker_url) - pushed) == 1, "nor did the child take the parent's away"
    os.close(leave)
    os.waitpid(pid, 0)
    assert length(broker_url) == 6


def pushers(broker_url):
    """Ids of the connections whose last command was to push, of this broker's database."""
    with redis.Redis.from_url(broker_url) as client:
        number = str(client.connection_pool.connection_kwargs.get("db", 0))
        return {one["id"] for one in client.client_list() if one["db"] == number and one["cmd"] in ("lpush", "exec")}


def test_no_broker_is_said_plainly():
    with pytest.raises(InvalidSetting, match="SAGAWORKER_BROKER_URL must be set"):
        Doorbells.from_settings(Settings())


def test_a_worker_looks_for_a_lost_broker_at_once_and_hears_what_is_rung_when_it_is_back(
    own_valkey, database_url, tmp_path
):
    stage = Stage(tmp_path, database_url, own_valkey.url)
    try:
        worker = stage.worker()
        comes_back(stage, worker, own_valkey)
    finally:
        stage.close()


def comes_back(stage, worker, broker):
    main = worker.pid
    broker.kill()
    wait_until(lambda: "Trying again now" in worker.logs(), what="a wait below a second")
    broker.start()
    run = stage.engine.start("back", ["steps.echo"])
    assert stage.finished(run.id).status == "completed"
    assert (worker.pid, worker.status) == (main, "running")


def test_a_worker_outlives_the_loss_of_its_broker_with_a_message_in_its_hands(own_valkey, database_url, tmp_path):
    stage = Stage(tmp_path, database_url, own_valkey.url)
    try:
        worker = stage.worker()
        # Celery holds a message that is not due yet, and kombu cannot give it back over the connection that was lost.
        stage.client.send_task("sagaworker.recover", countdown=600, queue="control")
        wait_until(lambda: stage.redis.hlen("unacked") == 1, what="a message that is held")
        comes_back(stage, worker, own_valkey)
    finally:
        stage.close()


def test_each_host_of_a_broker_url_is_asked_for_its_own_name():
    """kombu fills the first host's name in where none is given, and keeps it for the second."""
    options = verified("amqps://a.example:1//;amqps://b.example:2//")
    connection = Connection("amqps://a.example:1//;amqps://b.example:2//", ssl=options)
    asked = []
    for host in ("a.example", "b.example"):
        connection.hostname = host
        # What kombu does before it connects, and what it hands to py-amqp then.
        if "server_hostname" in connection.ssl and connection.ssl["server_hostname"] is None:
            connection.ssl["server_hostname"] = connection.hostname
        asked.append(dict(**connection.ssl)["server_hostname"])
    assert asked == ["a.example", "b.example"]
