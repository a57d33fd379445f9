//! Every stop of every room, each in a house of its own. Those of networks and of activations have tests to themselves.

use gantry_e2e::eventually;
use gantry_faults::{
    LIMIT, Props, deadly, holdings, house, is_activation, is_network, is_shared, life, repeat, say, stops, unfinished,
    walk,
};
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;

/// Whether the daemon died at the stop. Either way everything was done again and nothing is left.
fn dies_at(stop: &str, props: &Props) -> bool {
    let (mut house, passed) = house();
    let before = (holdings(&house), unfinished(&house));
    house.stop_daemon();
    passed.forget();
    house.set_env(deadly(stop, &passed));
    house.launch();
    let socket = house.socket();
    eventually("the daemon answers or has died", LIMIT, || {
        !house.daemon_alive() || UnixStream::connect(&socket).is_ok()
    });
    if !house.daemon_alive() || life(&mut house, props) {
        house.wait_daemon(LIMIT);
    } else {
        house.stop_daemon();
    }
    // A daemon that ended otherwise did not pass it.
    let hit = passed.all().iter().any(|name| name == stop);
    house.set_env(Vec::new());
    house.start();
    repeat(&house, props);
    house.clear();
    let mut after = before;
    let settled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually("nothing is left", LIMIT, || {
            after = (holdings(&house), unfinished(&house));
            after == before
        });
    }));
    assert!(settled.is_ok(), "left: {after:?}, and before it was {before:?}");
    hit
}

fn by_room(stops: &[String]) -> BTreeMap<&str, usize> {
    let mut rooms = BTreeMap::new();
    for stop in stops {
        *rooms.entry(stop.split(':').next().unwrap_or_default()).or_default() += 1;
    }
    rooms
}

#[test]
fn a_kill_at_every_stop_leaves_nothing_behind() {
    let (mut stops, props) = (stops(), Props::make());
    stops.retain(|stop| !is_network(stop) && !is_activation(stop) && !is_shared(stop));
    if let Ok(only) = std::env::var("GANTRY_ONLY_STOP") {
        stops.retain(|stop| stop.contains(&only));
    }
    let seen = walk(&stops, |stop| dies_at(stop, &props));
    let hit = by_room(&seen.hit);
    for (room, all) in by_room(&stops) {
        say(&format!(
            "failpoints of {room} hit: {} of {all}",
            hit.get(room).unwrap_or(&0)
        ));
    }
    seen.judge("", &stops);
}
