//! Against a real etcd (Debian's `etcd-server`), each test its own.

mod server;

use super::*;
use crate::overlay::networks::FIRST_VNI;
use crate::overlay::{Change, News, Tls, User};
use gantry_core::network::{IpamSettings, Scope};
use gantry_core::network::{NetworkRecord, Pool};
use server::{ASIDE, Server};
use std::collections::BTreeSet;
use std::fs;
use std::time::{Instant, SystemTime};
use tokio::runtime::Runtime;

const LONG: Duration = Duration::from_secs(30);

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

fn connect(settings: Settings, runtime: &Runtime) -> Cluster {
    let cluster = Cluster::connect(settings, runtime.handle()).unwrap();
    assert!(runtime.block_on(cluster.ready(LONG)), "etcd is not followed");
    cluster
}

fn record(n: u8, name: &str, subnet: &str) -> NetworkRecord {
    NetworkRecord {
        id: NetworkId::from_random([n; 32]),
        name: name.to_owned(),
        created_at: SystemTime::UNIX_EPOCH,
        driver: "overlay".to_owned(),
        scope: Scope::Global,
        pools: vec![Pool {
            subnet: subnet.parse().unwrap(),
            range: None,
            gateway: None,
            auxiliary: Default::default(),
        }],
        ipam: IpamSettings::default(),
        ipv4: true,
        ipv6: false,
        internal: false,
        attachable: true,
        options: Default::default(),
        labels: Default::default(),
        device: String::new(),
    }
}

fn endpoint(host: &str, id: &str, network: &NetworkId, address: IpAddr) -> ClusterEndpoint {
    ClusterEndpoint {
        id: id.to_owned(),
        network: network.clone(),
        host: host.to_owned(),
        vtep: "192.0.2.1".parse().unwrap(),
        word: String::new(),
        mac: "02:42:0a:00:00:02".parse().unwrap(),
        addresses: vec![address],
        names: vec![id.to_owned()],
    }
}

async fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < LONG, "{what} does not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn heard(changes: &mut Changes) -> News {
    timeout(LONG, changes.next())
        .await
        .expect("news come")
        .expect("the cluster is open")
}

/// The next change of a network or an endpoint: hosts come and go in their own time.
async fn change(changes: &mut Changes) -> Change {
    loop {
        match heard(changes).await {
            News::Change(Change::Host(_) | Change::HostGone(_)) => {}
            News::Change(change) => return change,
            News::Everything(state) => panic!("unasked for: {state:?}"),
        }
    }
}

fn kind(error: Error) -> ErrorKind {
    error.kind()
}

#[test]
fn what_one_host_says_another_hears() {
    let (server, runtime) = (Server::new(), runtime());
    let (one, other) = (
        connect(server.settings("a"), &runtime),
        connect(server.settings("bb"), &runtime),
    );
    runtime.block_on(async {
        let mut changes = other.watch();
        assert!(matches!(heard(&mut changes).await, News::Everything(_)));
        let network = one
            .create_network(|_| Ok((record(1, "net", "10.0.0.0/29"), None)))
            .await
            .unwrap();
        assert_eq!(network.vni, FIRST_VNI);
        assert_eq!(change(&mut changes).await, Change::Network(Box::new(network.clone())));
        assert_eq!(other.networks(), std::slice::from_ref(&network));
        let id = &network.record.id;

        let address = one.claim(id, 0, None, "e1").await.unwrap();
        let mut first = endpoint("a", "e1", id, address);
        one.publish(&first).await.unwrap();
        assert_eq!(change(&mut changes).await, Change::Endpoint(first.clone()));
        first.names.push("alias".to_owned());
        one.publish(&first).await.unwrap();
        assert_eq!(change(&mut changes).await, Change::Endpoint(first.clone()));
        assert_eq!(other.state().unwrap().endpoints_of(id).count(), 1);
        eventually("both hosts", || other.state().unwrap().hosts.len() == 2).await;

        assert_eq!(
            kind(other.delete_network(id).await.unwrap_err()),
            ErrorKind::PermissionDenied
        );
        one.withdraw(id, "e1").await.unwrap();
        assert_eq!(change(&mut changes).await, Change::EndpointGone(first));
        assert!(one.release(id, address, "e1").await.unwrap());
        other.delete_network(id).await.unwrap();
        other.delete_network(id).await.unwrap();
        assert_eq!(change(&mut changes).await, Change::NetworkGone(id.clone()));
        assert_eq!(
            kind(one.claim(id, 0, None, "e1").await.unwrap_err()),
            ErrorKind::NotFound
        );
    });
}

#[test]
fn two_hosts_never_take_the_same() {
    let (server, runtime) = (Server::new(), runtime());
    let (one, other) = (
        connect(server.settings("a"), &runtime),
        connect(server.settings("bb"), &runtime),
    );
    runtime.block_on(async {
        // Networks: each host makes five at the same time, numbering subnets by what it is shown.
        let make = |cluster: &'static str, n: u8| {
            move |there: &[ClusterNetwork]| {
                let subnet = format!("10.{}.0.0/24", there.len());
                Ok((record(n, &format!("{cluster}{n}"), &subnet), None))
            }
        };
        for n in 0..5 {
            let (a, b) = tokio::join!(
                one.create_network(make("a", 10 + n)),
                other.create_network(make("b", 20 + n))
            );
            a.unwrap();
            b.unwrap();
        }
        eventually("ten networks", || one.networks().len() == 10).await;
        let networks = one.networks();
        let distinct = |of: &dyn Fn(&ClusterNetwork) -> String| networks.iter().map(of).collect::<BTreeSet<_>>().len();
        assert_eq!(distinct(&|network| network.vni.to_string()), 10);
        assert_eq!(distinct(&|network| network.record.pools[0].subnet.to_string()), 10);
        let twice = one
            .create_network(|_| Ok((record(99, "a10", "10.99.0.0/24"), None)))
            .await;
        assert_eq!(kind(twice.unwrap_err()), ErrorKind::AlreadyExists);
        let taken = one
            .create_network(|there| Ok((record(99, "x", "10.99.0.0/24"), Some(there[0].vni))))
            .await;
        assert_eq!(kind(taken.unwrap_err()), ErrorKind::Conflict);
        let bad = one
            .create_network(|_| Ok((record(99, "x", "10.99.0.0/24"), Some(1 << 24))))
            .await;
        assert_eq!(kind(bad.unwrap_err()), ErrorKind::InvalidArgument);

        // Addresses: both take all they can of a small network.
        let network = one
            .create_network(|_| Ok((record(50, "small", "10.50.0.0/28"), None)))
            .await
            .unwrap();
        let id = &network.record.id;
        let mut all = Vec::new();
        for n in 0..7 {
            let (mine, theirs) = (format!("a{n}"), format!("b{n}"));
            let (a, b) = tokio::join!(one.claim(id, 0, None, &mine), other.claim(id, 0, None, &theirs));
            all.extend([a.unwrap(), b.unwrap()]);
        }
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 14);
        assert_eq!(
            kind(one.claim(id, 0, None, "late").await.unwrap_err()),
            ErrorKind::ResourceExhausted
        );
        let of_another = other.claim(id, 0, Some(all[0]), "b0").await.unwrap_err();
        assert!(
            of_another.to_string().contains("Address already in use"),
            "{of_another}"
        );
        assert_eq!(
            one.claim(id, 0, Some(all[0]), "a0").await.unwrap(),
            all[0],
            "asked again it is had already"
        );
        assert!(
            !other.release(id, all[0], "a0").await.unwrap(),
            "only its owner gives it back"
        );
        assert!(one.release(id, all[0], "a0").await.unwrap());
        assert!(!one.release(id, all[0], "a0").await.unwrap());
        assert_eq!(other.claim(id, 0, None, "b9").await.unwrap(), all[0]);
    });
}

/// etcd is killed and returns: what was known is known, writes say so, and what happened meanwhile is caught up with.
#[test]
fn without_etcd_what_was_known_stays_and_everything_is_caught_up_with() {
    let (mut server, runtime) = (Server::new(), runtime());
    let one = connect(server.settings("a"), &runtime);
    runtime.block_on(async {
        let network = one
            .create_network(|_| Ok((record(1, "net", "10.0.0.0/24"), None)))
            .await
            .unwrap();
        let id = network.record.id.clone();
        let address = one.claim(&id, 0, None, "e1").await.unwrap();
        let mine = endpoint("a", "e1", &id, address);
        one.publish(&mine).await.unwrap();
        eventually("what was published", || one.state().unwrap().endpoints.len() == 1).await;
        eventually("our membership", || one.state().unwrap().hosts.contains_key("a")).await;
        let mut changes = one.watch();
        assert!(matches!(heard(&mut changes).await, News::Everything(_)));

        server.kill();
        let mut connection = one.connection();
        timeout(LONG, connection.wait_for(|connected| !connected))
            .await
            .unwrap()
            .unwrap();
        let begun = Instant::now();
        assert_eq!(
            kind(one.claim(&id, 0, None, "e2").await.unwrap_err()),
            ErrorKind::Unavailable
        );
        assert_eq!(kind(one.withdraw(&id, "e1").await.unwrap_err()), ErrorKind::Unavailable);
        assert!(begun.elapsed() < Duration::from_secs(12), "a write does not hang");
        assert_eq!(one.networks(), std::slice::from_ref(&network));
        assert_eq!(one.state().unwrap().endpoints.len(), 1);
        // Longer than the lease: membership is lost, endpoints are not.
        tokio::time::sleep(Duration::from_secs(7)).await;

        server.start();
        assert!(one.ready(LONG).await);
        let other = Cluster::connect(server.settings("bb"), &Handle::current()).unwrap();
        assert!(other.ready(LONG).await);
        assert_eq!(
            other.state().unwrap().endpoints.len(),
            1,
            "what containers stand on hangs on no lease"
        );
        eventually("both again", || other.state().unwrap().hosts.len() == 2).await;
        let theirs = endpoint("bb", "e9", &id, "10.0.0.9".parse().unwrap());
        other.publish(&theirs).await.unwrap();
        assert_eq!(
            change(&mut changes).await,
            Change::Endpoint(theirs),
            "the watch went on where it was"
        );

        // While we were away our container ended, and another was made: what is true is said again.
        let now = endpoint("a", "e2", &id, "10.0.0.7".parse().unwrap());
        assert_eq!(one.reconcile(std::slice::from_ref(&now)).await.unwrap(), []);
        eventually("the truth", || {
            let state = other.state().unwrap();
            let addresses: Vec<IpAddr> = state.addresses_of(&id).collect();
            let ours: Vec<_> = state
                .endpoints
                .values()
                .filter(|one| one.host == "a")
                .cloned()
                .collect();
            ours == [now.clone()] && addresses == now.addresses
        })
        .await;
        let lost = other
            .reconcile(&[endpoint("bb", "e9", &id, "10.0.0.7".parse().unwrap())])
            .await
            .unwrap();
        assert_eq!(lost, [("e9".to_owned(), "10.0.0.7".parse().unwrap())]);
        other.evict("a").await.unwrap();
        eventually("nothing of a", || {
            !other.state().unwrap().endpoints.values().any(|one| one.host == "a")
        })
        .await;
    });
}

#[test]
fn a_host_that_falls_silent_is_no_member_and_one_that_leaves_is_none_at_once() {
    let (server, runtime) = (Server::new(), runtime());
    let watcher = connect(server.settings("a"), &runtime);
    let silent = connect(server.settings("bb"), &runtime);
    let leaver = connect(server.settings("ccc"), &runtime);
    runtime.block_on(async {
        let hosts = || watcher.state().unwrap().hosts.len();
        eventually("three hosts", || hosts() == 3).await;
        leaver.leave().await.unwrap();
        eventually("two hosts", || hosts() == 2).await;
        drop(silent);
        eventually("one host", || hosts() == 1).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(hosts(), 1, "a living host renews its lease");
    });
}

/// The watch cannot go on from where it was: everything is told again.
#[test]
fn what_etcd_forgot_is_listed_again() {
    let (mut server, runtime) = (Server::new(), runtime());
    let one = connect(server.settings("a"), &runtime);
    runtime.block_on(async {
        one.create_network(|_| Ok((record(1, "old", "10.1.0.0/24"), None)))
            .await
            .unwrap();
        eventually("the network", || one.networks().len() == 1).await;
        let mut changes = one.watch();
        assert!(matches!(heard(&mut changes).await, News::Everything(_)));

        // Another etcd takes its place, with other contents and a history that begins later.
        server.kill();
        fs::remove_dir_all(server.dir.path().join("data")).unwrap();
        server.token += 1;
        server.start();
        let other = Cluster::connect(server.settings("bb"), &Handle::current()).unwrap();
        assert!(other.ready(LONG).await);
        let network = other
            .create_network(|_| Ok((record(2, "new", "10.2.0.0/24"), None)))
            .await
            .unwrap();
        eventually("the new network", || one.networks() == std::slice::from_ref(&network)).await;
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < LONG);
            match heard(&mut changes).await {
                News::Everything(_) => break,
                News::Change(Change::Host(_) | Change::HostGone(_)) => {}
                News::Change(change) => panic!("{change:?}"),
            }
        }
    });
}

/// A copy of itself with other contents, as a backup that was put back: nothing tells that it is not the same, and it may even be ahead.
#[test]
fn what_etcd_says_of_another_past_is_told_as_changes() {
    let (mut server, runtime) = (Server::new(), runtime());
    let one = connect(server.settings("a"), &runtime);
    runtime.block_on(async {
        one.create_network(|_| Ok((record(1, "old", "10.1.0.0/24"), None)))
            .await
            .unwrap();
        eventually("the network", || one.networks().len() == 1).await;
        server.kill();
        timeout(LONG, one.connection().wait_for(|connected| !connected))
            .await
            .unwrap()
            .unwrap();
        fs::remove_dir_all(server.dir.path().join("data")).unwrap();
        let port = std::mem::replace(&mut server.client, ASIDE);
        server.start();
        let other = Cluster::connect(server.settings("bb"), &Handle::current()).unwrap();
        assert!(other.ready(LONG).await);
        for n in 2..9 {
            let (name, subnet) = (format!("new{n}"), format!("10.{n}.0.0/24"));
            other
                .create_network(|_| Ok((record(n, &name, &subnet), None)))
                .await
                .unwrap();
        }
        server.kill();
        server.client = port;
        server.start();
        eventually("the other networks and no more", || {
            let networks = one.networks();
            networks.len() == 7 && networks.iter().all(|network| network.record.name != "old")
        })
        .await;
    });
}

#[test]
fn a_compacted_history_is_no_obstacle() {
    let (mut server, runtime) = (Server::new(), runtime());
    let one = connect(server.settings("a"), &runtime);
    runtime.block_on(async {
        let network = one
            .create_network(|_| Ok((record(1, "net", "10.1.0.0/24"), None)))
            .await
            .unwrap();
        let id = network.record.id.clone();
        eventually("the network", || one.networks().len() == 1).await;
        // Cut off from etcd, which goes on without us and forgets.
        server.kill();
        timeout(LONG, one.connection().wait_for(|connected| !connected))
            .await
            .unwrap()
            .unwrap();
        let port = std::mem::replace(&mut server.client, ASIDE);
        server.start();
        let other = Cluster::connect(server.settings("bb"), &Handle::current()).unwrap();
        assert!(other.ready(LONG).await);
        other
            .publish(&endpoint("bb", "e1", &id, "10.1.0.9".parse().unwrap()))
            .await
            .unwrap();
        other.withdraw(&id, "e1").await.unwrap();
        other
            .publish(&endpoint("bb", "e2", &id, "10.1.0.8".parse().unwrap()))
            .await
            .unwrap();
        let revision = other
            .shared
            .etcd
            .folder(folder(""))
            .await
            .unwrap()
            .header
            .unwrap()
            .revision;
        server.post(
            "/v3/kv/compaction",
            &format!("{{\"revision\":\"{revision}\",\"physical\":true}}"),
        );
        server.kill();
        server.client = port;
        server.start();
        assert!(one.ready(LONG).await);
        eventually("what came meanwhile", || {
            one.state()
                .unwrap()
                .endpoints
                .keys()
                .map(|(_, id)| id.as_str())
                .eq(["e2"])
        })
        .await;
    });
}

#[test]
fn hosts_share_keys_and_one_of_them_turns_the_ring() {
    let (server, runtime) = (Server::new(), runtime());
    let (one, other) = (
        connect(server.settings("a"), &runtime),
        connect(server.settings("bb"), &runtime),
    );
    runtime.block_on(async {
        let hour = Duration::from_secs(3600);
        let (a, b) = tokio::join!(one.turn(1000, hour), other.turn(1000, hour));
        let first = a.unwrap();
        assert_eq!(first, b.unwrap());
        assert_eq!(one.turn(4599, hour).await.unwrap(), first, "it is not time yet");
        let (a, b) = tokio::join!(one.turn(4600, hour), other.turn(4600, hour));
        let second = a.unwrap();
        assert_eq!(second, b.unwrap(), "turned once");
        assert_eq!(
            (&second.current, &second.previous),
            (&first.next, &Some(first.current.clone()))
        );
        eventually("the other host hears of it", || {
            other.state().unwrap().ring.as_ref() == Some(&second)
        })
        .await;
        assert!(!format!("{:?}", other.state()).contains(&serde_json::to_string(&second.current).unwrap()));
    });
}

#[test]
fn users_and_passwords() {
    let (server, runtime) = (Server::new(), runtime());
    server.post("/v3/auth/user/add", r#"{"name":"root","password":"secret"}"#);
    server.post("/v3/auth/role/add", r#"{"name":"root"}"#);
    server.post("/v3/auth/user/grant", r#"{"user":"root","role":"root"}"#);
    server.post("/v3/auth/enable", "{}");
    let with = |password: &str| {
        let mut settings = server.settings("a");
        settings.user = Some(User {
            name: "root".to_owned(),
            password: password.to_owned(),
        });
        settings
    };
    let one = connect(with("secret"), &runtime);
    runtime.block_on(async {
        let network = one
            .create_network(|_| Ok((record(1, "net", "10.1.0.0/24"), None)))
            .await
            .unwrap();
        eventually("the network", || one.networks() == std::slice::from_ref(&network)).await;
        for settings in [with("wrong"), server.settings("a")] {
            let shown = format!("{settings:?}");
            assert!(!shown.contains("wrong"), "{shown}");
            let stranger = Cluster::connect(settings, &Handle::current()).unwrap();
            assert!(!stranger.ready(Duration::from_secs(1)).await);
            let error = stranger.delete_network(&network.record.id).await.unwrap_err();
            assert_ne!(error.kind(), ErrorKind::Unavailable, "{error}");
        }
    });
}

#[test]
fn certificates_on_both_sides() {
    let (server, runtime) = (Server::secure(), runtime());
    let path = |name: &str| Some(server.dir.path().join(name));
    let mut settings = server.settings("a");
    settings.tls = Some(Tls {
        authorities: path("ca.pem"),
        certificate: path("client.pem"),
        key: path("client.key"),
    });
    let one = connect(settings.clone(), &runtime);
    let made = runtime.block_on(one.create_network(|_| Ok((record(1, "net", "10.1.0.0/24"), None))));
    assert_eq!(made.unwrap().vni, FIRST_VNI);

    let mut stranger = settings.clone();
    stranger.tls = Some(Tls {
        authorities: path("ca.pem"),
        ..Tls::default()
    });
    let stranger = Cluster::connect(stranger, runtime.handle()).unwrap();
    assert!(
        !runtime.block_on(stranger.ready(Duration::from_secs(1))),
        "etcd wants a certificate"
    );
    for (endpoints, tls) in [
        (vec![], None),
        (vec!["127.0.0.1:2379".to_owned()], None),
        (
            vec!["https://127.0.0.1:1".to_owned()],
            Some(Tls {
                key: path("client.key"),
                ..Tls::default()
            }),
        ),
        (
            vec!["https://127.0.0.1:1".to_owned()],
            Some(Tls {
                authorities: path("absent"),
                ..Tls::default()
            }),
        ),
    ] {
        let mut bad = settings.clone();
        bad.endpoints = endpoints;
        bad.tls = tls;
        assert!(Cluster::connect(bad, runtime.handle()).is_err());
    }
}

#[test]
fn another_member_answers_for_one_that_is_away() {
    let (server, runtime) = (Server::new(), runtime());
    let mut settings = server.settings("a");
    settings
        .endpoints
        .insert(0, format!("http://{}:{ASIDE}", server.address));
    let one = connect(settings, &runtime);
    let made = runtime.block_on(one.create_network(|_| Ok((record(1, "net", "10.1.0.0/24"), None))));
    assert!(made.is_ok());
}
