//! What is young: touched by a step that was under way when a collection began its mark, or later.
//!
//! Every step names the nodes it makes, refers to or answers "already exists" about, before it commits. Steps in flight
//! are known at all times, so that a mark that begins between a step's check and its commit keeps what the step relies
//! on.

use gantry_core::gc::Node;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};

#[derive(Debug, Default)]
pub struct Young(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    in_flight: HashMap<u64, Vec<Node>>,
    /// While a collection runs.
    kept: Option<HashSet<Node>>,
}

/// A step under way.
#[derive(Debug)]
pub struct Step<'a> {
    young: &'a Young,
    number: Option<u64>,
}

/// A collection under way.
#[derive(Debug)]
pub struct Collecting<'a>(&'a Young);

impl Young {
    pub fn step(&self, nodes: &[Node]) -> Step<'_> {
        if nodes.is_empty() {
            return Step {
                young: self,
                number: None,
            };
        }
        let mut state = self.0.lock();
        if let Some(kept) = &mut state.kept {
            kept.extend(nodes.iter().cloned());
        }
        let number = state.next;
        state.next += 1;
        state.in_flight.insert(number, nodes.to_vec());
        Step {
            young: self,
            number: Some(number),
        }
    }

    /// To be called before the snapshot that is marked is taken. One collection at a time is the caller's duty.
    pub fn collect(&self) -> Collecting<'_> {
        let mut state = self.0.lock();
        let now = state.in_flight.values().flatten().cloned().collect();
        state.kept = Some(now);
        Collecting(self)
    }
}

impl Collecting<'_> {
    pub fn contains(&self, node: &Node) -> bool {
        let state = self.0.0.lock();
        state.kept.as_ref().is_some_and(|kept| kept.contains(node))
    }

    /// Everything young so far.
    pub fn all(&self) -> Vec<Node> {
        let state = self.0.0.lock();
        state.kept.iter().flatten().cloned().collect()
    }

    /// Grows with every touch; equal means nothing new.
    pub fn count(&self) -> usize {
        self.0.0.lock().kept.as_ref().map_or(0, HashSet::len)
    }
}

impl Drop for Collecting<'_> {
    fn drop(&mut self) {
        self.0.0.lock().kept = None;
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.young.0.lock().in_flight.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_core::Namespace;

    #[test]
    fn steps_in_flight_and_later_ones_are_young() {
        let ns = Namespace::engine();
        let [before, during, after] = ["a", "b", "c"].map(|key| Node::content(&ns, key));
        let young = Young::default();
        drop(young.step(std::slice::from_ref(&before)));
        let step = young.step(std::slice::from_ref(&during));
        let collecting = young.collect();
        drop(step);
        drop(young.step(std::slice::from_ref(&after)));
        assert!(!collecting.contains(&before));
        assert!(collecting.contains(&during) && collecting.contains(&after));
        drop(collecting);
        assert!(young.0.lock().kept.is_none() && young.0.lock().in_flight.is_empty());
    }
}
