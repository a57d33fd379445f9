//! P21.

use gantry_e2e::{Gantry, House, PATIENCE, eventually};
use std::io::{Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Everything that somebody may want of a daemon meanwhile, of the container that is copied from and of others.
fn nothing_waits(gantry: &Gantry, name: &str, turn: &str) {
    gantry.ok(&["ps", "-a"]);
    gantry.ok(&["ps", "-as"]);
    gantry.ok(&["inspect", name]);
    assert_eq!(gantry.ok(&["exec", name, "echo", "in"]), "in");
    gantry.ok(&["logs", name]);
    gantry.ok(&["diff", name]);
    gantry.ok(&["top", name]);
    gantry.ok(&["update", "--pids-limit", "100", name]);
    gantry.ok(&["stats", "--no-stream", name]);
    let small = gantry
        .feed(&["cp", "-", &format!("{name}:/tmp")], &archive(turn))
        .exits(0);
    assert_eq!(small.stderr, "");
    assert_eq!(gantry.ok(&["run", "--rm", "busybox", "echo", "other"]), "other");
    let other = gantry.ok(&["create", "busybox", "true"]);
    gantry.ok(&["rm", &other]);
    gantry.ok(&["pause", name]);
    gantry.ok(&["unpause", name]);
    gantry.ok(&["rename", name, "elsewhere"]);
    gantry.ok(&["rename", "elsewhere", name]);
    gantry.ok(&["images"]);
    gantry.ok(&["system", "df"]);
}

/// A tape with one small file.
fn archive(name: &str) -> Vec<u8> {
    let mut tape = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(4);
    header.set_mode(0o644);
    tape.append_data(&mut header, name, &b"text"[..]).expect("a tape");
    tape.into_inner().expect("a tape")
}

/// A container called `box` that has `/big`.
fn boxed(gantry: &Gantry, size: &str) {
    let line = format!("truncate -s {size} /big; exec sleep 1000");
    gantry.ok(&["run", "-d", "--name", "box", "busybox", "sh", "-c", &line]);
    eventually("the file is there", PATIENCE, || {
        gantry.run(&["exec", "box", "test", "-s", "/big"]).code == 0
    });
}

/// A copy whose other end does not go on lasts as long as it likes.
#[test]
fn p21_nothing_waits_for_a_copy() {
    let house = House::new();
    let gantry = house.gantry();
    boxed(&gantry, "1G");

    // Out of it: nobody reads on.
    let mut out = gantry.command(["cp", "box:/big", "-"]);
    let mut out = out.stdout(Stdio::piped()).spawn().expect("gantry starts");
    let mut taken = out.stdout.take().expect("piped");
    taken.read_exact(&mut [0; 65536]).expect("the copy has begun");
    nothing_waits(&gantry, "box", "one");
    assert!(
        out.try_wait().expect("a child").is_none(),
        "the copy is still under way"
    );

    // Into it: nobody sends on.
    let mut header = tar::Header::new_ustar();
    header.set_path("slow").expect("a name");
    header.set_size(1 << 30);
    header.set_mode(0o644);
    header.set_cksum();
    let mut into = gantry.spawn(gantry.command(["cp", "-", "box:/tmp"]));
    let mut sent = into.stdin.take().expect("piped");
    sent.write_all(header.as_bytes()).expect("it is taken");
    sent.write_all(&vec![1; 1 << 20]).expect("it is taken");
    sent.flush().expect("it is taken");
    eventually("the copy has begun", PATIENCE, || {
        gantry.run(&["exec", "box", "test", "-s", "/tmp/slow"]).code == 0
    });
    nothing_waits(&gantry, "box", "two");
    assert!(
        into.try_wait().expect("a child").is_none(),
        "the copy is still under way"
    );

    // Its end does not wait either; what is broken off is told to whoever copied.
    gantry.ok(&["stop", "-t", "0", "box"]);
    gantry.ok(&["start", "box"]);
    drop(sent);
    assert_ne!(gantry_e2e::ended(&mut into).code(), Some(0), "half a tape is no tape");
    // Whoever stops reading has had enough, and the daemon with him.
    drop(taken);
    gantry_e2e::ended(&mut out);
    gantry.ok(&["rm", "-f", "box"]);
}

/// The promise's own case: `ps` beside 2 GB on their way.
#[test]
fn p21_ps_answers_beside_a_copy_of_two_gigabytes() {
    let house = House::new();
    let gantry = house.gantry();
    boxed(&gantry, "2G");
    let mut alone = Vec::new();
    for _ in 0..10 {
        alone.push(ps(&gantry));
    }
    let mut copy = gantry.command(["cp", "box:/big", "-"]);
    let mut copy = copy.stdout(Stdio::piped()).spawn().expect("gantry starts");
    let mut tape = copy.stdout.take().expect("piped");
    let reader = std::thread::spawn(move || std::io::copy(&mut tape, &mut std::io::sink()).expect("the tape"));
    let mut beside = Vec::new();
    while !reader.is_finished() {
        beside.push(ps(&gantry));
    }
    assert!(reader.join().expect("the reader ends") > 2 << 30);
    assert!(gantry_e2e::ended(&mut copy).success());
    assert!(beside.len() >= 3, "{} lists beside the copy", beside.len());
    let longest = |times: Vec<Duration>| times.into_iter().max().unwrap_or_default();
    let (alone, beside) = (longest(alone), longest(beside));
    // It shares the processors with the copy, and nothing else.
    assert!(
        beside < alone * 10 + Duration::from_secs(5),
        "{beside:?} beside a copy, {alone:?} alone"
    );
    gantry.ok(&["rm", "-f", "box"]);
}

fn ps(gantry: &Gantry) -> Duration {
    let began = Instant::now();
    gantry.ok(&["ps"]);
    began.elapsed()
}
