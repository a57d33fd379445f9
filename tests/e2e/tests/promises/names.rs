//! P19 and P20.

use gantry_e2e::{House, PATIENCE, eventually};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

#[test]
fn p19_stats_show_the_new_name_at_the_next_sample() {
    let house = House::new();
    let gantry = house.gantry();
    gantry.ok(&["run", "-d", "--name", "old", "busybox", "sleep", "1000"]);
    // As the command shows it.
    let mut command = gantry.command(["stats", "--format", "{{.Container}} {{.Name}}", "old"]);
    let mut shown = command.stdout(Stdio::piped()).spawn().expect("gantry starts");
    let mut lines = BufReader::new(shown.stdout.take().expect("piped")).lines();
    let mut next = || lines.next().expect("the command goes on").expect("a line");
    while next() != "old old" {}
    // And as the Docker API streams it: a line a sample.
    let mut stream = UnixStream::connect(house.exec_root().join("docker.sock")).expect("the socket answers");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    stream
        .write_all(b"GET /v1.51/containers/old/stats HTTP/1.1\r\nHost: d\r\n\r\n")
        .expect("the request is taken");
    let mut names = samples(BufReader::new(stream));
    assert_eq!(names.next().expect("a first sample"), "/old");

    gantry.ok(&["rename", "old", "new"]);
    // One sample may have been on its way.
    let on_its_way = names.next().expect("a sample");
    assert!(on_its_way == "/old" || on_its_way == "/new", "{on_its_way}");
    let after = if on_its_way == "/new" {
        on_its_way
    } else {
        names.next().expect("a sample")
    };
    let after = if after == "/new" {
        after
    } else {
        names.next().expect("a sample")
    };
    assert_eq!(after, "/new");
    eventually("the command shows the new name", PATIENCE, || next() == "old new");
    shown.kill().expect("the command can be killed");
    shown.wait().expect("it ends");
    let once = gantry.ok(&["stats", "--no-stream", "--format", "{{.Name}}", "new"]);
    assert_eq!(once, "new");
}

/// The names in a chunked stream of samples.
fn samples(mut stream: BufReader<impl Read>) -> impl Iterator<Item = String> {
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        stream.read_line(&mut line).expect("a head");
    }
    let lines = stream.lines().map(|line| line.expect("a sample in time"));
    lines.filter(|line| line.starts_with('{')).map(|line| {
        let sample: Value = serde_json::from_str(&line).expect("JSON");
        sample["name"].as_str().expect("a name").to_owned()
    })
}

/// A crash loop has another name at once, whatever it is about to do, and its runs go on under it.
#[test]
fn p20_a_restarting_container_is_renamed() {
    let house = House::new();
    let gantry = house.gantry();
    let id = gantry.ok(&["run", "-d", "--restart", "always", "--name", "box0", "busybox", "false"]);
    let look = |template: &str| gantry.ok(&["inspect", "-f", template, &id]);
    eventually("it waits for its next run", PATIENCE, || {
        look("{{.State.Status}}") == "restarting"
    });
    let mut caught = 0;
    for turn in 1..=40 {
        let (old, new) = (format!("box{}", turn - 1), format!("box{turn}"));
        caught += u32::from(look("{{.State.Status}}") == "restarting");
        gantry.ok(&["rename", &old, &new]);
        assert_eq!(look("{{.Name}}").trim_start_matches('/'), new);
        gantry.run(&["inspect", &old]).exits(1);
        if turn % 10 == 0 {
            // From the first pause again, so that starts are hit too.
            gantry.ok(&["stop", "-t", "0", &new]);
            gantry.ok(&["start", &new]);
        }
    }
    assert!(caught > 0, "it was never found restarting");
    let runs: u32 = look("{{.RestartCount}}").parse().expect("a number");
    eventually("its runs go on", PATIENCE, || {
        look("{{.RestartCount}}").parse::<u32>().expect("a number") > runs
    });
    gantry.ok(&["stop", "-t", "0", "box40"]);
    assert_eq!(look("{{.State.Status}}"), "exited");
}
