use super::*;
use crate::meta::testing::{any, labels, ns, open, room};
use gantry_core::meta::Change;
use gantry_store::{Batch, KEPT};

const PATIENCE: Duration = Duration::from_secs(20);

async fn next(envelopes: &mut Envelopes) -> Result<Envelope> {
    let item = tokio::time::timeout(PATIENCE, envelopes.next()).await;
    item.expect("an event in time").expect("an open stream")
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(seconds, 123_456_789)
}

#[tokio::test]
async fn all_hear_everything_from_now_on_in_one_order() {
    let room = room();
    let (one, two) = (ns("one"), ns("two"));
    room.exchange.publish(&one, "/before", at(1), any("0")).await.unwrap();
    let mut all = [room.exchange.subscribe(), room.exchange.subscribe()];
    let first = room
        .exchange
        .publish(&one, "/tasks/start", at(2), any("1"))
        .await
        .unwrap();
    room.meta
        .update_namespace(&two, Change::Merge(labels(&[("a", "1")])))
        .await
        .unwrap();
    let end = Happening::SandboxExit {
        id: "pod".to_owned(),
        status: 3,
        at: at(5),
    };
    let start = Happening::SandboxStart { id: "pod".to_owned() };
    let numbers = room.exchange.tell(&two, vec![start, end.clone()]).await.unwrap();
    for envelopes in &mut all {
        let heard = next(envelopes).await.unwrap();
        assert_eq!(
            heard,
            Envelope {
                number: first,
                at: at(2),
                namespace: one.clone(),
                topic: "/tasks/start".to_owned(),
                event: Happening::Opaque(any("1")),
            }
        );
        let mut topics = Vec::new();
        for _ in 0..3 {
            topics.push(next(envelopes).await.unwrap());
        }
        let heard: Vec<_> = topics.iter().map(|envelope| envelope.topic.as_str()).collect();
        assert_eq!(heard, ["/namespaces/update", "/sandboxes/start", "/sandboxes/exit"]);
        assert_eq!((topics[2].number, &topics[2].event), (numbers[1], &end));
        assert!(topics.is_sorted_by_key(|envelope| envelope.number));
    }
}

#[tokio::test]
async fn docker_events_are_not_told() {
    let room = room();
    let one = ns("one");
    let mut envelopes = room.exchange.subscribe();
    let mut batch = Batch::new();
    batch.event(Event {
        ns: one.clone(),
        topic: records::TOPIC.to_owned(),
        at: at(1),
        payload: serde_json::json!({}),
    });
    room.store.commit(batch).unwrap();
    room.exchange.publish(&one, "/x", at(1), any("1")).await.unwrap();
    assert_eq!(next(&mut envelopes).await.unwrap().topic, "/x");
}

#[tokio::test]
async fn what_comes_again_is_stored_once() {
    let room = room();
    let one = ns("one");
    let mut envelopes = room.exchange.subscribe();
    let send = |exchange: Exchange, topic: &'static str, when: u64, text: &'static str| {
        let one = one.clone();
        async move { exchange.publish(&one, topic, at(when), any(text)).await.unwrap() }
    };
    let first = send(room.exchange.clone(), "/tasks/exit", 1, "1").await;
    let mut doubles = tokio::task::JoinSet::new();
    for _ in 0..8 {
        doubles.spawn(send(room.exchange.clone(), "/tasks/exit", 2, "2"));
    }
    let mut numbers = doubles.join_all().await;
    numbers.dedup();
    assert_eq!(numbers.len(), 1, "one of them was stored");
    assert_eq!(send(room.exchange.clone(), "/tasks/exit", 1, "1").await, first);
    for (topic, when, text) in [("/tasks/oom", 1, "1"), ("/tasks/exit", 3, "1"), ("/tasks/exit", 1, "3")] {
        assert!(send(room.exchange.clone(), topic, when, text).await > numbers[0]);
    }
    let other = room.exchange.publish(&ns("two"), "/tasks/exit", at(1), any("1")).await;
    assert!(other.unwrap() > numbers[0]);
    for _ in 0..6 {
        next(&mut envelopes).await.unwrap();
    }
    let more = tokio::time::timeout(Duration::from_millis(50), envelopes.next()).await;
    assert!(more.is_err(), "nothing was told twice: {more:?}");
}

#[tokio::test]
async fn doubles_are_known_to_the_next_daemon() {
    let room = room();
    let one = ns("one");
    let first = room
        .exchange
        .publish(&one, "/tasks/exit", at(1), any("1"))
        .await
        .unwrap();
    let dir = room.dir;
    drop((room.store, room.blobs, room.snapshots, room.meta, room.exchange));
    let room = open(dir);
    let again = room
        .exchange
        .publish(&one, "/tasks/exit", at(1), any("1"))
        .await
        .unwrap();
    assert_eq!(again, first);
}

#[tokio::test]
async fn topics_are_paths_of_identifiers() {
    let room = room();
    for bad in ["", "tasks/start", "/", "/tasks/", "//x", "/a b", "/tasks/-x"] {
        let error = room
            .exchange
            .publish(&ns("one"), bad, at(1), any("1"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{bad}");
    }
    for good in ["/a", "/tasks/exec-added", "/a/b/c.d_e"] {
        room.exchange.publish(&ns("one"), good, at(1), any("1")).await.unwrap();
    }
}

/// Fills the log with small events, many a batch.
fn flood(room: &crate::meta::testing::Room, count: u64) {
    for _ in 0..count.div_ceil(1000) {
        let mut batch = Batch::new();
        for _ in 0..1000 {
            let happening = Happening::SandboxStart { id: "x".to_owned() };
            batch.event(told(&ns("one"), at(1), &happening).unwrap());
        }
        room.store.commit(batch).unwrap();
    }
}

#[tokio::test]
async fn who_is_slow_reads_later_and_who_is_too_slow_is_told() {
    let room = room();
    let (mut slow, mut lost) = (room.exchange.subscribe(), room.exchange.subscribe());
    flood(&room, 5_000);
    let mut heard = 0;
    for number in 1..=5_000 {
        assert_eq!(next(&mut slow).await.unwrap().number, number);
        heard += 1;
    }
    assert_eq!(next(&mut lost).await.unwrap().number, 1);
    flood(&room, KEPT + 10_000);
    let oldest = room.store.oldest_event();
    assert!(oldest > 5_001, "the log was trimmed");
    let error = loop {
        match next(&mut lost).await {
            Ok(envelope) => assert_eq!(envelope.number, heard - 5_000 + 2),
            Err(error) => break error,
        }
        heard += 1;
    };
    assert_eq!(error.kind(), ErrorKind::DataLoss);
    let (first, last) = (heard - 5_000 + 2, oldest - 1);
    assert!(
        error.message().contains(&format!("events {first} to {last} ")),
        "{error}"
    );
    assert!(lost.next().await.is_none(), "the stream ends");
    // Who begins again hears what is kept.
    let mut again = room.exchange.subscribe_after(oldest - 1);
    assert_eq!(next(&mut again).await.unwrap().number, oldest);
}

#[tokio::test]
async fn a_number_that_failed_is_no_loss() {
    let room = room();
    let mut envelopes = room.exchange.subscribe();
    let before = room.exchange.publish(&ns("one"), "/a", at(1), any("1")).await.unwrap();
    let failed = room.exchange.publish(&ns("one"), "/x", at(1), any("1")).await.unwrap();
    let after = room.exchange.publish(&ns("one"), "/b", at(1), any("1")).await.unwrap();
    // As after a batch that was numbered and not written.
    let mut batch = Batch::new();
    batch.delete::<Event>(&failed);
    room.store.commit(batch).unwrap();
    assert_eq!(next(&mut envelopes).await.unwrap().number, before);
    assert_eq!(next(&mut envelopes).await.unwrap().number, after);
}
