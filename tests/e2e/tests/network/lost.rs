//! What goes on while the daemon is away, and comes back when others destroy it.

use crate::{address, endpoint, exec, pings, rules, same_rules, up};
use gantry_e2e::netns::{HOUSE4, HOUSE6, NEIGHBOUR4, NEIGHBOUR6, neighbour};
use gantry_e2e::talk::{A, AAAA, EMBEDDED, Servers, ask, reaches, unreachable};
use gantry_e2e::{House, PATIENCE, eventually};
use std::net::{TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// By both families.
fn is_reached(other: &gantry_e2e::Netns) {
    reaches(other, &format!("{HOUSE4}:8080"), &format!("one {NEIGHBOUR4}"));
    reaches(other, &format!("[{HOUSE6}]:8080"), &format!("one {NEIGHBOUR6}"));
}

/// Published ports over a restart, the daemon ended in this way.
fn over_a_restart(backend: &[&str], end: impl Fn(&mut House)) {
    let mut house = House::apart(backend);
    let other = neighbour(house.netns());
    let gantry = house.gantry();
    gantry.ok(&["network", "create", "--ipv6", "web"]);
    let flags = ["--network", "web", "-p", "8080:7000", "-p", "8080:7000/udp"];
    up(&gantry, "one", &flags);
    up(&gantry, "two", &["--network", "web"]);
    let one = house.inside("one");
    let servers = Servers::new(&one, "one", &[7000]);
    let reached = || is_reached(&other);
    reached();
    let (before, own) = (rules(&house), address(&gantry, "one", "web"));
    for _ in 0..2 {
        end(&mut house);
        reached();
        for address in ["0.0.0.0:8080", "[::]:8080", "127.0.0.1:8080"] {
            let bound = house
                .netns()
                .enter(|| (TcpListener::bind(address).is_ok(), UdpSocket::bind(address).is_ok()));
            assert_eq!(bound, (false, false), "{address} while the daemon is away");
        }
        house.start();
        reached();
        assert!(pings(&gantry, "two", "one"), "by name");
        assert_eq!(address(&gantry, "one", "web"), own);
        same_rules(&house, &before, PATIENCE);
        gantry
            .run(&["run", "--rm", "-p", "8080:80", "busybox", "true"])
            .exits(125)
            .says("8080");
    }
    // What ended meanwhile has left.
    let pid = gantry.ok(&["inspect", "-f", "{{.State.Pid}}", "one"]);
    end(&mut house);
    drop(servers);
    let pid = nix::unistd::Pid::from_raw(pid.parse().expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it runs");
    house.start();
    eventually("it has left", PATIENCE, || {
        house.netns().enter(|| TcpListener::bind("0.0.0.0:8080").is_ok())
    });
    unreachable(&other, &format!("{HOUSE4}:8080"));
    gantry.ok(&["start", "one"]);
}

#[test]
fn ports_are_kept_over_an_orderly_restart() {
    over_a_restart(&[], House::stop_daemon);
}

#[test]
fn ports_are_kept_over_a_kill() {
    over_a_restart(&[], House::kill_daemon);
}

#[test]
fn ports_are_kept_over_a_kill_under_iptables() {
    over_a_restart(&["--firewall-backend", "iptables"], House::kill_daemon);
}

#[test]
fn p28_a_flushed_ruleset_is_back_within_two_seconds() {
    let house = House::apart(&[]);
    let (gantry, other) = (house.gantry(), neighbour(house.netns()));
    gantry.ok(&["network", "create", "--ipv6", "web"]);
    up(
        &gantry,
        "one",
        &["--network", "web", "-p", "8080:7000", "-p", "8080:7000/udp"],
    );
    let one = house.inside("one");
    let _servers = Servers::new(&one, "one", &[7000]);
    let before = rules(&house);
    let mut times = Vec::new();
    for _ in 0..3 {
        house.netns().ok("nft flush ruleset");
        let began = Instant::now();
        same_rules(&house, &before, PATIENCE);
        times.push(began.elapsed());
        is_reached(&other);
    }
    // One chain of ours, and one element of a map.
    let table = house.instance();
    let tables = house.netns().ok("nft list tables");
    for line in tables.lines().filter(|line| line.ends_with(&table)) {
        house.netns().ok(&format!("nft delete {line}"));
        let began = Instant::now();
        same_rules(&house, &before, PATIENCE);
        times.push(began.elapsed());
    }
    // A busy machine is not slow each time.
    assert!(times.iter().any(|time| *time < Duration::from_secs(2)), "{times:?}");
}

#[test]
fn p28_rules_lost_while_the_daemon_was_dead_are_put_back_by_its_start() {
    let mut house = House::apart(&[]);
    let other = neighbour(house.netns());
    let gantry = house.gantry();
    gantry.ok(&["network", "create", "--ipv6", "web"]);
    let flags = ["--network", "web", "-p", "8080:7000", "-p", "8080:7000/udp"];
    up(&gantry, "one", &flags);
    let one = house.inside("one");
    let _servers = Servers::new(&one, "one", &[7000]);
    let before = rules(&house);
    house.kill_daemon();
    house.netns().ok("nft flush ruleset");
    house.start();
    same_rules(&house, &before, PATIENCE);
    is_reached(&other);
}

#[test]
fn p36_a_query_sent_while_the_daemon_is_dead_is_answered() {
    let mut house = House::apart(&[]);
    let gantry = house.gantry();
    gantry.ok(&["network", "create", "--ipv6", "web"]);
    up(&gantry, "one", &["--network", "web"]);
    up(&gantry, "two", &["--network", "web"]);
    let (two, own) = (house.inside("two"), address(&gantry, "one", "web"));
    let six = endpoint(&gantry, "one", "web", "GlobalIPv6Address");
    for (orderly, kind, own) in [
        (false, A, &own),
        (false, AAAA, &six),
        (true, A, &own),
        (true, AAAA, &six),
    ] {
        if orderly {
            house.stop_daemon();
        } else {
            house.kill_daemon();
        }
        let asked = std::thread::scope(|scope| {
            let asker = scope.spawn(|| {
                let began = Instant::now();
                let answer = ask(&two, EMBEDDED, "one", kind, PATIENCE).expect("an answer");
                (answer, began.elapsed())
            });
            std::thread::sleep(Duration::from_millis(500));
            assert!(!asker.is_finished(), "nobody is there to answer");
            house.start();
            asker.join().expect("an answer")
        });
        assert_eq!(asked.0.records, [own.as_str()]);
        println!("answered after {:?}", asked.1);
    }
}

/// As a resolver asks: five seconds of patience, and once more. What a killed daemon had taken from the socket and not answered
/// is asked again; what an orderly one was asked is never lost.
#[test]
fn p36_names_resolve_while_the_daemon_restarts() {
    const KILLS: u32 = 3;
    let mut house = House::apart(&[]);
    let gantry = house.gantry();
    gantry.ok(&["network", "create", "web"]);
    up(&gantry, "one", &["--network", "web"]);
    up(&gantry, "two", &["--network", "web"]);
    let (two, own) = (house.inside("two"), address(&gantry, "one", "web"));
    let done = AtomicBool::new(false);
    let (asked, again) = std::thread::scope(|scope| {
        let asker = scope.spawn(|| {
            let (mut count, mut again) = (0, 0);
            while !done.load(Ordering::Relaxed) || count <= 20 {
                let answer = ask(&two, EMBEDDED, "one", A, Duration::from_secs(5)).or_else(|_| {
                    again += 1;
                    ask(&two, EMBEDDED, "one", A, Duration::from_secs(5))
                });
                assert_eq!(answer.expect("an answer").records, [own.as_str()]);
                count += 1;
            }
            (count, again)
        });
        for _ in 0..KILLS {
            house.restart_hard();
            house.stop_daemon();
            house.start();
        }
        done.store(true, Ordering::Relaxed);
        asker.join().expect("every query is answered")
    });
    println!("{asked} queries over {} restarts, {again} asked again", 2 * KILLS);
    assert!(asked > 20 && again <= KILLS, "{asked} queries, {again} asked again");
    // Programs of the container too.
    exec(&gantry, "two", "nslookup one");
}

#[test]
fn a_device_that_somebody_removed_is_made_again() {
    let house = House::apart(&[]);
    let gantry = house.gantry();
    let id = gantry.ok(&["network", "create", "web"]);
    house.netns().ip(&format!("link del br-{}", &id[..12]));
    up(&gantry, "one", &["--network", "web"]);
    up(&gantry, "two", &["--network", "web"]);
    assert!(pings(&gantry, "one", "two"));
}
