//! One test a room: every stop of its list, each in a house of its own.

use gantry_e2e::{House, HouseOptions, eventually};
use gantry_faults::{archive, entries, life, programs, repeat, stops};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(15);

/// What the house holds with busybox alone.
fn holdings(house: &House) -> (usize, usize) {
    let data = house.data_root();
    (
        entries(&data.join("snapshotters/overlayfs/snapshots")),
        entries(&data.join("containers")),
    )
}

/// Whether the daemon died at the stop. If so, everything was done again and nothing is left.
fn dies_at(stop: &str) -> bool {
    let mut house = House::with(HouseOptions {
        programs: Some(programs()),
        ..HouseOptions::default()
    });
    let archive = archive(&house);
    house.stop_daemon();
    house.start();
    let before = holdings(&house);
    house.stop_daemon();

    house.set_env(vec![("GANTRY_FAILPOINT".to_owned(), stop.to_owned())]);
    house.launch();
    let socket = house.socket();
    eventually("the daemon answers or has died", LIMIT, || {
        !house.daemon_alive() || UnixStream::connect(&socket).is_ok()
    });
    let died = !house.daemon_alive() || life(&mut house, &archive);
    if died {
        house.wait_daemon(LIMIT);
    } else {
        house.stop_daemon();
    }
    house.set_env(Vec::new());
    house.start();
    repeat(&house, &archive);
    house.clear();
    eventually(&format!("nothing is left: before {before:?}"), LIMIT, || {
        holdings(&house) == before
    });
    died
}

/// A pull needs a registry, which this life has not.
const PULL: &[&str] = &["engine::image::pulled", "engine::image::recorded"];

/// Kills at every stop of the list; those `elsewhere` need not be passed by this life.
fn room(source: &str, elsewhere: &[&str]) {
    let stops = stops(source);
    assert!(!stops.is_empty(), "a room without stops");
    let (next, seen) = (AtomicUsize::new(0), Mutex::new((0, Vec::new(), Vec::new())));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some(stop) = stops.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = catch_unwind(AssertUnwindSafe(|| dies_at(stop)));
                    let mut seen = seen.lock().expect("not poisoned");
                    match result {
                        Ok(true) => seen.0 += 1,
                        Ok(false) => seen.1.push(stop.as_str()),
                        Err(_) => seen.2.push(stop.as_str()),
                    }
                }
            });
        }
    });
    let (hit, mut missed, failed) = seen.into_inner().expect("not poisoned");
    println!("{hit} of {} stops hit; not passed: {missed:?}", stops.len());
    assert!(failed.is_empty(), "not recovered after a kill at {failed:?}");
    missed.retain(|stop| !elsewhere.contains(stop));
    assert!(missed.is_empty(), "never passed: {missed:?}");
}

#[test]
fn engine() {
    room(include_str!("../../../daemon/engine/src/failpoint.rs"), PULL);
}

#[test]
fn image() {
    room(include_str!("../../../daemon/image/src/failpoint.rs"), &[]);
}

#[test]
fn store() {
    room(include_str!("../../../daemon/store/src/lib.rs"), &[]);
}

#[test]
fn task() {
    room(include_str!("../../../daemon/task/src/lib.rs"), &[]);
}
