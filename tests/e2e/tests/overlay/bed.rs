//! Two hosts on a wire, and etcd at the first.

use gantry_e2e::{Etcd, Gantry, House, HouseOptions, PATIENCE, eventually};

/// Which addresses hosts speak to each other by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Underlay {
    V4,
    V6,
}

impl Underlay {
    pub fn address(self, host: usize) -> &'static str {
        match self {
            Self::V4 => ["192.0.2.1", "192.0.2.2"][host],
            Self::V6 => ["2001:db8:1::1", "2001:db8:1::2"][host],
        }
    }

    /// How it is written before a port.
    pub fn host(self, host: usize) -> String {
        match self {
            Self::V4 => self.address(host).to_owned(),
            Self::V6 => format!("[{}]", self.address(host)),
        }
    }
}

pub const WIRE: &str = "out0";

pub struct Bed {
    pub houses: [House; 2],
    pub etcd: Etcd,
}

impl Bed {
    pub fn new(underlay: Underlay) -> Self {
        let flags = |host: usize| {
            vec![
                format!("--cluster-store=etcd://{}:2379", underlay.host(0)),
                format!("--cluster-advertise={}", underlay.address(host)),
            ]
        };
        Self::with(underlay, flags, |_| {})
    }

    /// `lock` is done to etcd before the daemons that have these flags are to reach it.
    pub fn with(underlay: Underlay, flags: impl Fn(usize) -> Vec<String>, lock: impl FnOnce(&mut Etcd)) -> Self {
        let houses = [0, 1].map(|host| {
            House::with(HouseOptions {
                flags: flags(host),
                netns: true,
                ..HouseOptions::default()
            })
        });
        let [one, other] = &houses;
        wire(one, other);
        let mut etcd = Etcd::start(one.netns(), underlay.address(0));
        lock(&mut etcd);
        Self { houses, etcd }
    }

    pub fn gantry(&self, host: usize) -> Gantry {
        self.houses[host].gantry()
    }

    /// Defines an overlay network at the first host, and waits until the second knows it; its id.
    pub fn network(&self, line: &str) -> String {
        let mut args = vec!["network", "create", "-d", "overlay"];
        args.extend(line.split(' '));
        let mut id = String::new();
        eventually("etcd is reached", PATIENCE, || {
            let made = self.gantry(0).run(&args);
            id = made.line().to_owned();
            made.code == 0
        });
        self.knows(1, &id);
        id
    }

    /// Waits until a host knows a network.
    pub fn knows(&self, host: usize, network: &str) {
        eventually("the other host knows the network", PATIENCE, || {
            self.gantry(host).run(&["network", "inspect", network]).code == 0
        });
    }

    /// Everything is removed through the front doors, so that the houses find nothing left of the other's.
    pub fn close(self) {
        for house in &self.houses {
            house.clear();
        }
        let list = |host: usize| {
            self.gantry(host)
                .ok(&["network", "ls", "-q", "--no-trunc", "-f", "driver=overlay"])
        };
        eventually("networks nobody is in can be removed", PATIENCE, || {
            for id in list(0).lines() {
                self.gantry(0).run(&["network", "rm", id]);
            }
            list(0).is_empty() && list(1).is_empty()
        });
        let [one, other] = self.houses;
        drop(one);
        drop(other);
        drop(self.etcd);
    }
}

fn wire(one: &House, other: &House) {
    one.netns().cable(WIRE, other.netns(), WIRE);
    for (host, house) in [one, other].into_iter().enumerate() {
        let (v4, v6) = (Underlay::V4.address(host), Underlay::V6.address(host));
        house.netns().ip(&format!("addr add {v4}/24 dev {WIRE}"));
        house.netns().ip(&format!("addr add {v6}/64 dev {WIRE} nodad"));
    }
}

/// Starts a container that does nothing for a long time.
#[track_caller]
pub fn up(gantry: &Gantry, name: &str, flags: &[&str]) {
    let mut args = vec!["run", "-d", "--name", name];
    args.extend(flags);
    args.extend(["busybox", "sleep", "100000"]);
    gantry.ok(&args);
}

/// Whether one echo request is answered.
pub fn pings(gantry: &Gantry, from: &str, to: &str) -> bool {
    let six = if to.contains(':') { "-6" } else { "-4" };
    gantry.run(&["exec", from, "ping", six, "-c", "1", "-W", "2", to]).code == 0
}

/// Waits until it is: news takes its time from host to host.
#[track_caller]
pub fn reaches(gantry: &Gantry, from: &str, to: &str) {
    eventually(&format!("{from} reaches {to}"), PATIENCE, || pings(gantry, from, to));
}

/// One field of a container's endpoint.
#[track_caller]
pub fn endpoint(gantry: &Gantry, name: &str, network: &str, field: &str) -> String {
    let template = format!("{{{{(index .NetworkSettings.Networks \"{network}\").{field}}}}}");
    gantry.ok(&["inspect", "-f", &template, name])
}
