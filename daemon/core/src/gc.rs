//! Garbage collection: what is reachable, as a pure function over roots and edges.
//!
//! The words on labels are containerd's (`containerd.io/gc.*`, its "Garbage Collection" document): a label on a record
//! is an edge from it (`gc.ref.*`, `gc.cond.*`), an edge to it (`gc.bref.*`), a root (`gc.root`) or a time to live
//! (`gc.expire`, on images and leases).

mod condition;

use crate::{Labels, Namespace};
use condition::Condition;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::time::SystemTime;

/// What kind of thing a node is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Content,
    /// Of the snapshotter named.
    Snapshot(String),
    Image,
    Container,
    Ingest,
    /// Mounts that are kept under a name.
    Mount,
    /// Never collected, refers to others (a sandbox, an engine record).
    Holder(&'static str),
}

/// One thing of one namespace. No edge leaves its namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    pub ns: Namespace,
    pub kind: Kind,
    pub key: String,
}

impl Node {
    pub fn new(ns: &Namespace, kind: Kind, key: impl Into<String>) -> Self {
        Self {
            ns: ns.clone(),
            kind,
            key: key.into(),
        }
    }

    pub fn content(ns: &Namespace, digest: impl fmt::Display) -> Self {
        Self::new(ns, Kind::Content, digest.to_string())
    }

    pub fn snapshot(ns: &Namespace, snapshotter: &str, key: &str) -> Self {
        Self::new(ns, Kind::Snapshot(snapshotter.to_owned()), key)
    }

    pub fn image(ns: &Namespace, name: &str) -> Self {
        Self::new(ns, Kind::Image, name)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Content => write!(f, "content {} in {}", self.key, self.ns),
            Kind::Snapshot(name) => write!(f, "snapshot {} of {name} in {}", self.key, self.ns),
            Kind::Image => write!(f, "image {} in {}", self.key, self.ns),
            Kind::Container => write!(f, "container {} in {}", self.key, self.ns),
            Kind::Ingest => write!(f, "ingest {} in {}", self.key, self.ns),
            Kind::Mount => write!(f, "mount {} in {}", self.key, self.ns),
            Kind::Holder(what) => write!(f, "{what} {} in {}", self.key, self.ns),
        }
    }
}

/// What one record says to the collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What the record is.
    pub node: Node,
    /// It lives by itself: nothing has to refer to it.
    pub root: bool,
    /// What it needs whatever its labels say: an image its target, a snapshot its parent.
    pub needs: Vec<Node>,
    pub labels: Labels,
}

impl Facts {
    /// Everything the record makes live, by need and by label; for the collector's write barrier.
    pub fn refers_to(&self) -> impl Iterator<Item = Node> {
        let by_label = label_refs(&self.node.ns, &self.labels);
        // Whether a condition holds is looked at when all is there.
        let perhaps = condition::conditions(&self.node.ns, &self.labels);
        let perhaps = perhaps.into_iter().map(|(node, _)| node);
        self.needs.clone().into_iter().chain(by_label.forward).chain(perhaps)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Edge {
    to: Node,
    /// Followed from flat marks too.
    need: bool,
}

/// How far a mark reaches: a flat lease keeps what it names and what that needs, labels are not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    Flat,
    Full,
}

/// Roots and edges of everything there is.
#[derive(Debug, Default)]
pub struct Graph {
    roots: Vec<(Node, Reach)>,
    edges: HashMap<Node, Vec<Edge>>,
    conditions: Vec<(Node, Node, Condition)>,
    used: HashMap<Node, Vec<SystemTime>>,
}

impl Graph {
    /// Takes in a record. `gc.root` makes it a root; an image whose `gc.expire` is over is none.
    pub fn add(&mut self, facts: &Facts, now: SystemTime) {
        let expired = facts.node.kind == Kind::Image && is_expired(&facts.labels, now);
        if (facts.root || facts.labels.contains_key(LABEL_ROOT)) && !expired {
            self.root(facts.node.clone(), Reach::Full);
        }
        let refs = label_refs(&facts.node.ns, &facts.labels);
        let needs = facts.needs.iter().map(|to| Edge {
            to: to.clone(),
            need: true,
        });
        let labels = refs.forward.into_iter().map(|to| Edge { to, need: false });
        self.edges
            .entry(facts.node.clone())
            .or_default()
            .extend(needs.chain(labels));
        for from in refs.backward {
            self.edges.entry(from).or_default().push(Edge {
                to: facts.node.clone(),
                need: false,
            });
        }
        self.add_conditions(facts);
    }

    fn add_conditions(&mut self, facts: &Facts) {
        match facts.node.kind {
            Kind::Content | Kind::Image => {
                let found = condition::conditions(&facts.node.ns, &facts.labels).into_iter();
                let from = &facts.node;
                self.conditions.extend(found.map(|(to, test)| (from.clone(), to, test)));
            }
            Kind::Snapshot(_) => {
                let used = condition::used_at(&facts.labels);
                if !used.is_empty() {
                    self.used.insert(facts.node.clone(), used);
                }
            }
            Kind::Container | Kind::Ingest | Kind::Mount | Kind::Holder(_) => {}
        }
    }

    /// Makes edges of the conditions that hold; to be called when everything is added.
    pub fn settle(&mut self, now: SystemTime) {
        for (from, to, test) in std::mem::take(&mut self.conditions) {
            let used = self.used.get(&to).map(Vec::as_slice).unwrap_or_default();
            if used.iter().any(|used| test.holds(*used, now)) {
                self.edges.entry(from).or_default().push(Edge { to, need: false });
            }
        }
    }

    pub fn root(&mut self, node: Node, reach: Reach) {
        self.roots.push((node, reach));
    }

    /// Everything reachable from the roots.
    pub fn mark(&self) -> Marks {
        let mut marks = Marks::default();
        for (node, reach) in &self.roots {
            self.mark_from(&mut marks, node.clone(), *reach);
        }
        marks
    }

    /// Adds what `node` reaches to the marks.
    pub fn mark_from(&self, marks: &mut Marks, node: Node, reach: Reach) {
        let mut grey = vec![(node, reach)];
        while let Some((node, reach)) = grey.pop() {
            if marks.0.get(&node).is_some_and(|known| *known >= reach) {
                continue;
            }
            let edges = self.edges.get(&node).map(Vec::as_slice).unwrap_or_default();
            let followed = edges.iter().filter(|edge| reach == Reach::Full || edge.need);
            grey.extend(followed.map(|edge| (edge.to.clone(), reach)));
            marks.0.insert(node, reach);
        }
    }

    /// The victims so ordered that what refers comes before what it refers to: wherever a sweep stops, nothing that is
    /// left misses a part. Cycles are broken anywhere.
    pub fn referrers_first(&self, victims: &BTreeSet<Node>) -> Vec<Node> {
        let mut order = Vec::with_capacity(victims.len());
        let mut seen = BTreeSet::new();
        for start in victims {
            let mut stack = vec![(start, false)];
            while let Some((node, done)) = stack.pop() {
                if done {
                    order.push(node.clone());
                } else if seen.insert(node) {
                    stack.push((node, true));
                    let edges = self.edges.get(node).map(Vec::as_slice).unwrap_or_default();
                    let inside = edges.iter().filter_map(|edge| victims.get(&edge.to));
                    stack.extend(inside.map(|to| (to, false)));
                }
            }
        }
        order.reverse();
        order
    }
}

/// What is reachable.
#[derive(Debug, Default)]
pub struct Marks(HashMap<Node, Reach>);

impl Marks {
    pub fn contains(&self, node: &Node) -> bool {
        self.0.contains_key(node)
    }
}

pub const LABEL_ROOT: &str = "containerd.io/gc.root";
pub const LABEL_EXPIRE: &str = "containerd.io/gc.expire";
pub const LABEL_FLAT: &str = "containerd.io/gc.flat";
const REF: &str = "containerd.io/gc.ref.";
const BACK_REF: &str = "containerd.io/gc.bref.";

/// Edges that labels spell.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LabelRefs {
    pub forward: Vec<Node>,
    pub backward: Vec<Node>,
}

pub fn label_refs(ns: &Namespace, labels: &Labels) -> LabelRefs {
    let mut refs = LabelRefs::default();
    for (label, key) in labels {
        if let Some(what) = label.strip_prefix(REF) {
            refs.forward
                .extend(named(what, false).map(|kind| Node::new(ns, kind, key)));
        } else if let Some(what) = label.strip_prefix(BACK_REF) {
            refs.backward
                .extend(named(what, true).map(|kind| Node::new(ns, kind, key)));
        }
    }
    refs
}

/// `content`, `content.x`, `content/x`, `image.x`, `snapshot.<snapshotter>`, `snapshot.<snapshotter>/x`, forwards also
/// `mount.x`, and backwards `container.x`.
fn named(what: &str, backward: bool) -> Option<Kind> {
    if let Some(rest) = what.strip_prefix("snapshot.") {
        let snapshotter = rest.split('/').next().unwrap_or_default();
        return (!snapshotter.is_empty()).then(|| Kind::Snapshot(snapshotter.to_owned()));
    }
    match what.split(['.', '/']).next()? {
        "content" => Some(Kind::Content),
        "image" => Some(Kind::Image),
        "container" if backward => Some(Kind::Container),
        "mount" if !backward => Some(Kind::Mount),
        _ => None,
    }
}

/// When the labels let the record end. A time that cannot be read never comes.
pub fn expires_at(labels: &Labels) -> Option<SystemTime> {
    let text = labels.get(LABEL_EXPIRE)?;
    chrono::DateTime::parse_from_rfc3339(text).ok().map(SystemTime::from)
}

pub fn is_expired(labels: &Labels, now: SystemTime) -> bool {
    expires_at(labels).is_some_and(|at| at <= now)
}

/// How far a lease with these labels reaches.
pub fn lease_reach(labels: &Labels) -> Reach {
    if labels.contains_key(LABEL_FLAT) {
        Reach::Flat
    } else {
        Reach::Full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ns() -> Namespace {
        Namespace::engine()
    }

    fn facts(node: &Node, root: bool, needs: &[&Node], labels: &[(&str, &str)]) -> Facts {
        Facts {
            node: node.clone(),
            root,
            needs: needs.iter().map(|node| (*node).clone()).collect(),
            labels: labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        }
    }

    fn graph(all: &[Facts]) -> Graph {
        let mut graph = Graph::default();
        for facts in all {
            graph.add(facts, SystemTime::UNIX_EPOCH);
        }
        graph
    }

    #[test]
    fn labels_spell_edges() {
        let ns = ns();
        let labels = Labels::from(
            [
                ("containerd.io/gc.ref.content", "a"),
                ("containerd.io/gc.ref.content.config", "b"),
                ("containerd.io/gc.ref.content/c", "c"),
                ("containerd.io/gc.ref.contents", "not"),
                ("containerd.io/gc.ref.snapshot.overlayfs", "d"),
                ("containerd.io/gc.ref.snapshot.native/1", "e"),
                ("containerd.io/gc.ref.snapshot.", "not"),
                ("containerd.io/gc.ref.image.x", "f"),
                ("containerd.io/gc.ref.container", "not"),
                ("containerd.io/gc.ref.mount/1", "m"),
                ("containerd.io/gc.bref.mount", "not"),
                ("containerd.io/gc.bref.container.x", "g"),
                ("containerd.io/gc.bref.snapshot.native", "h"),
            ]
            .map(|(k, v)| (k.to_owned(), v.to_owned())),
        );
        let refs = label_refs(&ns, &labels);
        let forward: BTreeSet<_> = refs.forward.into_iter().collect();
        assert_eq!(
            forward,
            BTreeSet::from([
                Node::content(&ns, "a"),
                Node::content(&ns, "b"),
                Node::content(&ns, "c"),
                Node::snapshot(&ns, "overlayfs", "d"),
                Node::snapshot(&ns, "native", "e"),
                Node::image(&ns, "f"),
                Node::new(&ns, Kind::Mount, "m"),
            ])
        );
        assert_eq!(
            refs.backward,
            [Node::new(&ns, Kind::Container, "g"), Node::snapshot(&ns, "native", "h")]
        );
    }

    #[test]
    fn what_is_reached_lives() {
        let ns = ns();
        let image = Node::image(&ns, "busybox");
        let [manifest, config, layer, stray] = ["m", "c", "l", "s"].map(|key| Node::content(&ns, key));
        let base = Node::snapshot(&ns, "native", "base");
        let top = Node::snapshot(&ns, "native", "top");
        let back = Node::content(&ns, "signature");
        let graph = graph(&[
            facts(&image, true, &[&manifest], &[]),
            facts(
                &manifest,
                false,
                &[],
                &[
                    ("containerd.io/gc.ref.content.0", "c"),
                    ("containerd.io/gc.ref.content.1", "l"),
                ],
            ),
            facts(&config, false, &[], &[("containerd.io/gc.ref.snapshot.native", "top")]),
            facts(&top, false, &[&base], &[]),
            facts(&back, false, &[], &[("containerd.io/gc.bref.content", "m")]),
        ]);
        let marks = graph.mark();
        for node in [&image, &manifest, &config, &layer, &top, &base, &back] {
            assert!(marks.contains(node), "{node}");
        }
        assert!(!marks.contains(&stray));
    }

    #[test]
    fn a_flat_root_keeps_parents_but_follows_no_label() {
        let ns = ns();
        let [manifest, config] = ["m", "c"].map(|key| Node::content(&ns, key));
        let base = Node::snapshot(&ns, "native", "base");
        let top = Node::snapshot(&ns, "native", "top");
        let mut graph = graph(&[
            facts(&manifest, false, &[], &[("containerd.io/gc.ref.content", "c")]),
            facts(&top, false, &[&base], &[("containerd.io/gc.ref.content", "c")]),
        ]);
        graph.root(manifest.clone(), Reach::Flat);
        graph.root(top.clone(), Reach::Flat);
        let mut marks = graph.mark();
        assert!(marks.contains(&manifest) && marks.contains(&top) && marks.contains(&base));
        assert!(!marks.contains(&config));
        graph.mark_from(&mut marks, manifest, Reach::Full);
        assert!(marks.contains(&config), "a full mark goes over a flat one");
    }

    #[test]
    fn expiry_and_root_labels() {
        let ns = ns();
        let node = Node::image(&ns, "x");
        let late = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1 << 31);
        for (labels, root, now, lives) in [
            (vec![], true, late, true),
            (vec![], false, late, false),
            (vec![(LABEL_ROOT, "yes")], false, late, true),
            (vec![(LABEL_EXPIRE, "2001-01-01T00:00:00Z")], true, late, false),
            (
                vec![(LABEL_EXPIRE, "2001-01-01T00:00:00Z")],
                true,
                SystemTime::UNIX_EPOCH,
                true,
            ),
            (vec![(LABEL_EXPIRE, "some day")], true, late, true),
        ] {
            let mut graph = Graph::default();
            graph.add(&facts(&node, root, &[], &labels), now);
            assert_eq!(graph.mark().contains(&node), lives, "{labels:?} {root}");
        }
        // Nothing else ends by itself.
        let past = [(LABEL_EXPIRE, "2001-01-01T00:00:00Z")];
        let rooted = [past[0], (LABEL_ROOT, "yes")];
        let [container, blob] = [Node::new(&ns, Kind::Container, "c"), Node::content(&ns, "b")];
        let mut graph = Graph::default();
        graph.add(&facts(&container, true, &[], &past), late);
        graph.add(&facts(&blob, false, &[], &rooted), late);
        let marks = graph.mark();
        assert!(marks.contains(&container) && marks.contains(&blob));
    }

    #[test]
    fn a_condition_keeps_while_it_holds() {
        let ns = ns();
        let config = Node::content(&ns, "config");
        let [fresh, stale, never] = ["fresh", "stale", "never"].map(|key| Node::snapshot(&ns, "native", key));
        let day = std::time::Duration::from_secs(86400);
        let now = SystemTime::UNIX_EPOCH + 10 * day;
        let root = (LABEL_ROOT, "yes");
        let mut graph = Graph::default();
        let asked = [
            root,
            ("containerd.io/gc.cond.snapshot.native/1", "usedat<24h|fresh"),
            ("containerd.io/gc.cond.snapshot.native/2", "usedat<24h|stale"),
            ("containerd.io/gc.cond.snapshot.native/3", "usedat<24h|never"),
        ];
        graph.add(&facts(&config, false, &[], &asked), now);
        for (node, used) in [(&fresh, "1970-01-10T12:00:00Z"), (&stale, "1970-01-02T00:00:00Z")] {
            graph.add(
                &facts(node, false, &[], &[("containerd.io/gc.cond.value-usedat", used)]),
                now,
            );
        }
        graph.add(&facts(&never, false, &[], &[]), now);
        graph.settle(now);
        let marks = graph.mark();
        assert!(marks.contains(&fresh) && !marks.contains(&stale) && !marks.contains(&never));
    }

    #[test]
    fn a_sweep_takes_referrers_first() {
        let ns = ns();
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|key| Node::content(&ns, key));
        let graph = graph(&[
            facts(&a, false, &[&c], &[]),
            facts(&d, false, &[&a, &b], &[]),
            facts(&b, false, &[&c], &[]),
            facts(&c, false, &[], &[("containerd.io/gc.ref.content", "outside")]),
        ]);
        let victims = BTreeSet::from([a.clone(), b.clone(), c.clone(), d.clone()]);
        let order = graph.referrers_first(&victims);
        let place = |node: &Node| order.iter().position(|found| found == node).unwrap();
        assert_eq!(order.len(), 4);
        assert!(place(&d) < place(&a) && place(&d) < place(&b) && place(&a) < place(&c) && place(&b) < place(&c));
    }

    #[test]
    fn cycles_end() {
        let ns = ns();
        let [a, b] = ["a", "b"].map(|key| Node::content(&ns, key));
        let graph = graph(&[facts(&a, true, &[&b], &[]), facts(&b, false, &[&a], &[])]);
        assert!(graph.mark().contains(&b));
        assert_eq!(
            graph.referrers_first(&BTreeSet::from([a, b])).len(),
            2,
            "each victim once"
        );
    }
}
