use super::*;
use crate::names::zone::{Membership, NetworkNames};
use gantry_core::network::NetworkId;
use hickory_proto::rr::Name;
use std::collections::HashSet;
use std::sync::Arc;

fn world() -> (View, Zone) {
    let network = NetworkId::from_random([1; 32]);
    let mut names = NetworkNames::new("net");
    names.add(["web", "www"], &["10.0.0.2".parse().unwrap()]);
    names.add(["six"], &["10.0.0.3".parse().unwrap(), "fd00::3".parse().unwrap()]);
    for n in 0..100 {
        names.add([format!("many{n}").as_str(), "many"], &[IpAddr::from([10, 0, 1, n])]);
    }
    let mut zone = Zone::default();
    zone.networks.insert(network.clone(), Arc::new(names));
    let view = View {
        networks: vec![Membership {
            network,
            links: Default::default(),
        }],
        upstreams: vec![crate::files::Upstream {
            address: "192.0.2.1:53".parse().unwrap(),
            from_host: false,
        }],
        forward: true,
        ndots_set: false,
    };
    (view, zone)
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut query = Message::query();
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    query
}

fn asked(query: &Message, udp: bool) -> Message {
    let (view, zone) = world();
    match answer(&query.to_vec().unwrap(), &view, &zone, udp) {
        Outcome::Reply(bytes) => {
            assert!(!udp || bytes.len() <= usize::from(query.max_payload()));
            Message::from_vec(&bytes).unwrap()
        }
        other => panic!("{other:?}"),
    }
}

fn said(name: &str, kind: RecordType) -> Vec<String> {
    let query = query(name, kind);
    let reply = asked(&query, true);
    assert_eq!(reply.metadata.id, query.metadata.id);
    assert_eq!(reply.queries, query.queries, "the question comes back as it was asked");
    assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
    assert!(reply.answers.iter().all(|record| record.ttl == TTL));
    let mut said: Vec<_> = reply.answers.iter().map(|record| record.data.to_string()).collect();
    said.sort();
    said
}

#[test]
fn names_have_addresses_and_addresses_names() {
    assert_eq!(said("Web.", RecordType::A), ["10.0.0.2"]);
    assert_eq!(said("web.net.", RecordType::A), ["10.0.0.2"]);
    assert_eq!(said("six.", RecordType::AAAA), ["fd00::3"]);
    assert_eq!(said("six.", RecordType::ANY), ["10.0.0.3", "fd00::3"]);
    assert_eq!(said("2.0.0.10.in-addr.arpa.", RecordType::PTR), ["web.net."]);
    let six = "3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.";
    assert_eq!(said(six, RecordType::PTR), ["six.net."]);
}

#[test]
fn a_name_that_is_there_but_not_so_is_no_one_else_s_affair() {
    for kind in [RecordType::AAAA, RecordType::MX, RecordType::TXT, RecordType::HTTPS] {
        assert!(said("web.", kind).is_empty());
    }
}

#[test]
fn what_is_not_ours_is_asked_of_others_if_there_are_any() {
    let (mut view, zone) = world();
    let bytes = query("example.org.", RecordType::A).to_vec().unwrap();
    assert_eq!(answer(&bytes, &view, &zone, true), Outcome::Forward { limit: 512 });
    let lone = query("nobody.", RecordType::A).to_vec().unwrap();
    assert!(matches!(answer(&lone, &view, &zone, true), Outcome::Forward { .. }));
    let partial = query("0.10.in-addr.arpa.", RecordType::PTR).to_vec().unwrap();
    assert!(matches!(answer(&partial, &view, &zone, true), Outcome::Forward { .. }));
    view.ndots_set = true;
    let code = |outcome| match outcome {
        Outcome::Reply(bytes) => Message::from_vec(&bytes).unwrap().metadata.response_code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(answer(&lone, &view, &zone, true)), ResponseCode::NXDomain);
    view.forward = false;
    assert_eq!(code(answer(&bytes, &view, &zone, true)), ResponseCode::ServFail);
}

#[test]
fn too_many_for_a_datagram_are_cut_and_said_to_be() {
    let query = query("many.", RecordType::A);
    let reply = asked(&query, true);
    assert!(reply.metadata.truncation && reply.answers.len() > 20);
    let whole = asked(&query, false);
    assert!(!whole.metadata.truncation);
    assert_eq!(whole.answers.len(), 100);
    let mut large = query.clone();
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    large.set_edns(edns);
    let reply = asked(&large, true);
    assert_eq!(reply.answers.len(), 100);
    assert!(reply.edns.is_some());
}

#[test]
fn containers_of_one_name_take_turns() {
    let query = query("many.", RecordType::A);
    let first = |_| asked(&query, false).answers[0].data.to_string();
    let firsts: HashSet<String> = (0..50).map(first).collect();
    assert!(firsts.len() > 5, "{firsts:?}");
}

#[test]
fn garbage_is_survived() {
    let (view, zone) = world();
    let good = query("web.", RecordType::A).to_vec().unwrap();
    for cut in 0..good.len() {
        let _ = answer(&good[..cut], &view, &zone, true);
    }
    for at in 0..good.len() {
        for value in [0, 0x3f, 0x80, 0xc0, 0xff] {
            let mut bad = good.clone();
            bad[at] = value;
            if let Outcome::Reply(bytes) = answer(&bad, &view, &zone, true) {
                assert_eq!(bytes[..2], bad[..2]);
            }
        }
    }
    let mut response = good;
    response[2] |= 0x80;
    assert_eq!(
        answer(&response, &view, &zone, true),
        Outcome::Ignore,
        "two servers must not answer each other"
    );
}

#[test]
fn a_long_answer_of_another_server_is_cut() {
    let whole = asked(&query("many.", RecordType::A), false).to_vec().unwrap();
    let cut = Message::from_vec(&fitted(whole.clone(), 512)).unwrap();
    assert!(cut.metadata.truncation && cut.answers.is_empty() && cut.queries.len() == 1);
    assert_eq!(fitted(whole.clone(), 65_535), whole);
    let cut = fitted([&whole[..12], &[0xff; 600]].concat(), 512);
    assert_eq!((cut.len(), cut[2] & 2), (12, 2));
}
