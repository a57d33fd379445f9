//! Several clients on one container, one of them asleep: each gets every byte.

use gantry_e2e::{House, PATIENCE, ended, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sha2::{Digest, Sha256};
use std::io::Read;
use std::process::{Child, Stdio};
use std::thread::JoinHandle;

const BYTES: u64 = 200 * 1000 * 1000;

/// Sum and count of all that a client prints.
fn sum(child: &mut Child) -> JoinHandle<(String, u64)> {
    let mut stdout = child.stdout.take().expect("piped");
    std::thread::spawn(move || {
        let (mut hash, mut count, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 16]);
        loop {
            let read = stdout.read(&mut buffer).expect("a pipe can be read");
            if read == 0 {
                return (hex::encode(hash.finalize()), count);
            }
            hash.update(&buffer[..read]);
            count += read as u64;
        }
    })
}

fn three_clients(more: &[&str]) {
    let house = House::new();
    let gantry = house.gantry();
    let source = house.root().join("random");
    let made = std::process::Command::new("head")
        .args(["-c", &BYTES.to_string(), "/dev/urandom"])
        .stdout(std::fs::File::create(&source).expect("a file"))
        .status();
    assert!(made.expect("head runs").success());
    let mut hash = Sha256::new();
    std::io::copy(&mut std::fs::File::open(&source).expect("a file"), &mut hash).expect("it can be read");
    let expected = (hex::encode(hash.finalize()), BYTES);
    let bind = format!("{}:/random:ro", source.display());
    // It waits for a line, so that all are attached before the first byte.
    let mut command = gantry.command(["create", "-i", "--name", "source", "-v", &bind]);
    command
        .args(more)
        .args(["busybox", "sh", "-c", "read line; exec cat /random"]);
    gantry.finish(command).exits(0);
    gantry.ok(&["start", "source"]);
    let mut clients: Vec<Child> = (0..3)
        .map(|place| {
            // Only the first has a say: the end of another's stdin would be the container's.
            let mut command = gantry.command(["attach"]);
            command.args((place != 0).then_some("--no-stdin")).arg("source");
            let stdin = if place == 0 { Stdio::piped() } else { Stdio::null() };
            command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::inherit());
            command.spawn().expect("gantry starts")
        })
        .collect();
    let sums: Vec<_> = clients.iter_mut().map(sum).collect();
    let attached = |format| gantry.ok(&["inspect", "-f", format, "source"]);
    eventually("three are attached", PATIENCE, || attached("{{len .Attached}}") == "3");
    let asleep = Pid::from_raw(i32::try_from(clients[2].id()).expect("a pid"));
    kill(asleep, Signal::SIGSTOP).expect("it can be stopped");
    use std::io::Write;
    clients[0]
        .stdin
        .take()
        .expect("piped")
        .write_all(b"go\n")
        .expect("attached");
    // There is more than its share of the disk: the writer waits for it, and says so.
    eventually("the one that sleeps holds back", PATIENCE, || {
        attached("{{range .Attached}}{{.HoldingBack}} {{end}}").contains("true")
    });
    kill(asleep, Signal::SIGCONT).expect("it can go on");
    for (place, sum) in sums.into_iter().enumerate() {
        assert_eq!(sum.join().expect("the reader ends"), expected, "client {place}");
    }
    for client in &mut clients {
        assert!(ended(client).success());
    }
}

#[test]
fn three_clients_get_every_byte() {
    three_clients(&[]);
}

#[test]
fn three_clients_get_every_byte_under_rm() {
    three_clients(&["--rm"]);
}
