//! What is answered from the zone, and what is not ours to answer (RFC 1034, 1035, 6891).

use super::zone::{View, Zone};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::PTR;
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};
use rand::seq::SliceRandom;
use std::net::IpAddr;

/// Docker's.
const TTL: u32 = 600;
/// What we can take in one datagram ourselves.
const PAYLOAD: u16 = 1232;
const HEADER: usize = 12;

/// What to do with a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Reply(Vec<u8>),
    /// Ask others; what they say may be this long.
    Forward {
        limit: usize,
    },
    /// No query: nobody waits for an answer.
    Ignore,
}

/// `limit` is what the transport can carry at most; over UDP the query says less.
pub fn answer(bytes: &[u8], view: &View, zone: &Zone, udp: bool) -> Outcome {
    if bytes.len() < HEADER || bytes[2] & 0x80 != 0 {
        return Outcome::Ignore;
    }
    let Ok(query) = Message::from_vec(bytes) else {
        return Outcome::Reply(refusal(bytes, ResponseCode::FormErr));
    };
    let limit = if udp {
        usize::from(query.max_payload())
    } else {
        usize::from(u16::MAX)
    };
    let forward = Outcome::Forward { limit };
    let [question] = query.queries.as_slice() else {
        return Outcome::Reply(refusal(bytes, ResponseCode::FormErr));
    };
    if query.metadata.op_code != OpCode::Query || question.query_class() != DNSClass::IN {
        return may_forward(view, question).map_or_else(|code| Outcome::Reply(refusal(bytes, code)), |()| forward);
    }
    match records(question, view, zone) {
        Some(records) => Outcome::Reply(reply(&query, records, limit)),
        None => may_forward(view, question).map_or_else(|code| Outcome::Reply(refusal(bytes, code)), |()| forward),
    }
}

/// `None` = no name of the sandbox's networks. A name that is known but not in this way has no records.
fn records(question: &Query, view: &View, zone: &Zone) -> Option<Vec<Record>> {
    let name = question.name();
    let record = |data| Record::from_rdata(name.clone(), TTL, data);
    if question.query_type() == RecordType::PTR {
        let net = name.parse_arpa_name().ok()?;
        let whole = net.prefix_len() == net.max_prefix_len();
        let found = view.name(zone, net.addr()).filter(|_| whole)?;
        return Some(vec![record(RData::PTR(PTR(found)))]);
    }
    let known = view.addresses(zone, name)?;
    let wanted = |address: &&IpAddr| match question.query_type() {
        RecordType::A => address.is_ipv4(),
        RecordType::AAAA => address.is_ipv6(),
        RecordType::ANY => true,
        _ => false,
    };
    let mut records: Vec<Record> = known.iter().filter(wanted).map(|ip| record(RData::from(*ip))).collect();
    // Several containers of one alias take turns.
    records.shuffle(&mut rand::rng());
    Some(records)
}

fn may_forward(view: &View, question: &Query) -> Result<(), ResponseCode> {
    if view.ndots_set && question.name().num_labels() == 1 {
        // The client goes on with its search list.
        return Err(ResponseCode::NXDomain);
    }
    match view.forward && !view.upstreams.is_empty() {
        true => Ok(()),
        false => Err(ResponseCode::ServFail),
    }
}

fn reply(query: &Message, records: Vec<Record>, limit: usize) -> Vec<u8> {
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.metadata.recursion_desired = query.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.add_queries(query.queries.iter().cloned());
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD).set_version(0);
        reply.set_edns(edns);
    }
    let whole = encoded(&reply, &records);
    if whole.len() <= limit {
        return whole;
    }
    reply.metadata.truncation = true;
    let fitting = (0..records.len()).collect::<Vec<_>>();
    let count = fitting.partition_point(|count| encoded(&reply, &records[..*count + 1]).len() <= limit);
    encoded(&reply, &records[..count])
}

fn encoded(reply: &Message, records: &[Record]) -> Vec<u8> {
    let mut reply = reply.clone();
    reply.add_answers(records.iter().cloned());
    reply.to_vec().expect("records of names that were read can be written")
}

/// An answer that says only what is wrong, to bytes that may not be a whole message.
pub fn refusal(query: &[u8], code: ResponseCode) -> Vec<u8> {
    let id = u16::from_be_bytes([query[0], query[1]]);
    let op_code = OpCode::from_u8(query[2] >> 3 & 0xf);
    let mut reply = Message::new(id, MessageType::Response, op_code);
    if let Ok(read) = Message::from_vec(query) {
        reply.add_queries(read.queries);
    }
    reply.metadata.recursion_desired = query[2] & 1 == 1;
    reply.metadata.recursion_available = true;
    reply.metadata.response_code = code;
    reply.to_vec().expect("a question that was read can be written")
}

/// What another server said, fitted to what the asker can take: its question and the mark of truncation, if too long.
pub fn fitted(reply: Vec<u8>, limit: usize) -> Vec<u8> {
    if reply.len() <= limit {
        return reply;
    }
    let short = Message::from_vec(&reply)
        .ok()
        .and_then(|whole| whole.truncate().to_vec().ok());
    short.unwrap_or_else(|| {
        let mut header = reply[..HEADER].to_vec();
        header[2] |= 2;
        header[4..].fill(0);
        header
    })
}

#[cfg(test)]
mod tests;
