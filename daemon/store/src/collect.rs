//! Garbage collection: mark on a snapshot of the store, sweep records, then bytes and directories. Writers never stop.
//!
//! What is young when a victim's turn comes (see [`crate::young`]), and all it refers to, is kept. Victims go from those
//! that refer to those referred to: whatever is kept at its turn still has all its parts. A victim whose claim is taken
//! is in use and kept.
//!
//! A collection that nobody waits for also spares what was made or changed in the last seconds: a client that holds no lease refers
//! to it by its next call.

use crate::blob::{Blob, BlobStore, IngestRecord, blob_claim};
use crate::db::{Claim, Store, View};
use crate::error::{Error, Result};
use crate::key::Key;
use crate::lease::{self, Lease, Leased, Leases, Resource};
use crate::record::{Batch, Record};
use crate::snapshot::{Snapshot, SnapshotStore};
use crate::young::Collecting;
use gantry_core::gc::{self, Facts, Graph, Kind, Marks, Node, Reach};
use gantry_core::meta::Happening;
use gantry_core::{Digest, LeaseId, Namespace};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// Victims that go in one batch.
const SWEEP: usize = 64;
/// Tables whose references decide what lives: not to be collected over blindly.
const MUST_READ: [&str; 4] = ["client_containers", "containers", "images", "sandboxes"];
/// How long a request waits for others like it.
const GATHER: Duration = Duration::from_millis(200);
/// What is younger than this is spared by the collections of the background.
const SPARED: Duration = Duration::from_secs(5);
/// A collection comes at least this often.
const AT_LEAST: Duration = Duration::from_secs(60 * 60);

/// A record of another room: where it is and what it says.
struct Found {
    table: &'static str,
    key: Vec<u8>,
    facts: Facts,
    changed_at: Option<SystemTime>,
}

type Source = Box<dyn Fn(&View<'_>) -> Result<Vec<Found>> + Send + Sync>;

/// A room whose records go when nothing refers to them, and what they stand for with them.
pub trait Reclaim: Send + Sync {
    /// Puts into the batch what forgets it, under its claim ([`Collector::claim_key`]). False if it is to stay.
    fn forget(&self, batch: &mut Batch, node: &Node) -> Result<bool>;

    /// Takes away what was forgotten, and is told by the room itself if that fails. No claim is held.
    fn clear(&self);
}

pub struct Collector {
    store: Arc<Store>,
    leases: Leases,
    blobs: BlobStore,
    snapshots: SnapshotStore,
    sources: Mutex<BTreeMap<&'static str, Source>>,
    /// Whose mounts they are.
    mounts: OnceLock<Arc<dyn Reclaim>>,
    running: Mutex<()>,
}

/// What a collection took away.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Images that had expired, blobs and snapshots that nothing referred to.
    pub removed: Vec<Node>,
    /// Leases that had expired.
    pub leases: Vec<(Namespace, LeaseId)>,
    /// Ingests that nobody resumed.
    pub ingests: usize,
    /// Layer directories.
    pub layers: usize,
    /// Bytes of blobs.
    pub freed: u64,
    /// Nothing was collected because damaged records are in quarantine: what they referred to is not known.
    pub held_back: bool,
    /// There were things too young to be looked at.
    pub spared: bool,
}

/// What the mark decides on.
struct Marked {
    graph: Graph,
    marks: Marks,
    victims: BTreeSet<Node>,
    /// Where victims of other rooms are.
    rows: HashMap<Node, (&'static str, Vec<u8>)>,
    expired_leases: Vec<(Namespace, LeaseId)>,
    orphans: Vec<<Leased as Record>::Key>,
    spared: bool,
}

impl Collector {
    pub fn new(store: Arc<Store>, blobs: BlobStore, snapshots: SnapshotStore) -> Self {
        Self {
            leases: Leases::new(store.clone()),
            store,
            blobs,
            snapshots,
            sources: Mutex::default(),
            mounts: OnceLock::new(),
            running: Mutex::new(()),
        }
    }

    /// Makes the references in a table of another room count ([`Record::facts`]). To be called for every such table
    /// before the first collection.
    pub fn read<R: Record>(&self) {
        let source: Source = Box::new(|view| {
            let found = view.list::<R>()?.into_iter().filter_map(|(key, record)| {
                let facts = record.facts(&key)?;
                Some(Found {
                    table: R::TABLE,
                    key: key.to_bytes(),
                    facts,
                    changed_at: record.changed_at(),
                })
            });
            Ok(found.collect())
        });
        self.sources.lock().insert(R::TABLE, source);
    }

    /// Makes records of mounts go ([`Kind::Mount`]), which are read by [`Collector::read`]. To be called once.
    pub fn reclaim_mounts(&self, room: Arc<dyn Reclaim>) {
        let _first_stays = self.mounts.set(room);
    }

    /// Collects now; waits for a collection that runs already.
    pub fn collect(&self) -> Result<Collected> {
        self.collect_older(Duration::ZERO)
    }

    /// The same, sparing blobs and snapshots that were changed less than `age` ago.
    fn collect_older(&self, age: Duration) -> Result<Collected> {
        let _running = self.running.lock();
        let mut collected = Collected::default();
        if self.store.holds_back()? {
            tracing::warn!("nothing is collected while damaged records are in quarantine; see gantryd store check");
            collected.held_back = true;
            return Ok(collected);
        }
        let young = self.store.young().collect();
        let mut marked = self.mark(age)?;
        collected.spared = marked.spared;
        failpoint!("store::collect::marked");
        collected.removed = self.sweep(&mut marked, &young)?;
        collected.leases = self.sweep_leases(&marked)?;
        let graph = &marked;
        collected.ingests = self.blobs.expire_ingests(|ns, reference| {
            let node = Node::new(ns, Kind::Ingest, reference);
            graph.marks.contains(&node) || young.contains(&node)
        })?;
        drop(young);
        failpoint!("store::collect::swept");
        collected.layers = self.snapshots.sweep_layers()?;
        collected.freed = self.blobs.sweep_files()?;
        if let Some(mounts) = self.mounts.get() {
            mounts.clear();
        }
        Ok(collected)
    }

    fn mark(&self, age: Duration) -> Result<Marked> {
        // A view may wait for what is being written, which is not to be newer than now.
        let view = self.store.view();
        let now = SystemTime::now();
        let mut marked = Marked {
            graph: Graph::default(),
            marks: Marks::default(),
            victims: BTreeSet::new(),
            rows: HashMap::new(),
            expired_leases: Vec::new(),
            orphans: Vec::new(),
            spared: false,
        };
        // Also what a clock that was set meanwhile calls later than now.
        let apart = |changed: SystemTime| now.duration_since(changed).unwrap_or_else(|error| error.duration());
        let spared = |changed: SystemTime| apart(changed) < age;
        self.mark_leases(&view, now, &mut marked)?;
        for (key, blob) in view.list::<Blob>()? {
            marked.candidate(blob.facts(&key), now, spared(blob.updated_at));
        }
        for (key, snapshot) in view.list::<Snapshot>()? {
            marked.candidate(snapshot.facts(&key), now, spared(snapshot.updated_at));
        }
        for (key, ingest) in view.list::<IngestRecord>()? {
            let kept = self.blobs.keeps_ingest(&key.0, &ingest)?;
            if let Some(facts) = ingest.facts(&key) {
                // Whether it has expired is looked at when its turn comes; what it expects is not worth less than it.
                marked.graph.add(&facts, now);
                if kept {
                    marked.graph.root(facts.node, Reach::Full);
                }
            }
        }
        let sources = self.sources.lock();
        for table in MUST_READ {
            if !sources.contains_key(table) && !self.store.is_empty(table)? {
                return Err(Error::CollectBlind { table });
            }
        }
        for source in sources.values() {
            for found in source(&view)? {
                if found.facts.node.kind == Kind::Image && gc::is_expired(&found.facts.labels, now) {
                    marked.victims.insert(found.facts.node.clone());
                    let row = (found.table, found.key);
                    marked.rows.insert(found.facts.node.clone(), row);
                }
                if found.facts.node.kind == Kind::Mount {
                    let young = found.changed_at.is_some_and(spared);
                    marked.candidate(Some(found.facts), now, young);
                    continue;
                }
                marked.graph.add(&found.facts, now);
            }
        }
        marked.graph.settle(now);
        marked.marks = marked.graph.mark();
        let marks = &marked.marks;
        marked.victims.retain(|node| !marks.contains(node));
        Ok(marked)
    }

    fn mark_leases(&self, view: &View<'_>, now: SystemTime, marked: &mut Marked) -> Result<()> {
        let mut reach = HashMap::new();
        for (key, lease) in view.list::<Lease>()? {
            if gc::is_expired(&lease.labels, now) {
                marked.expired_leases.push(key);
            } else {
                reach.insert(key, gc::lease_reach(&lease.labels));
            }
        }
        for ((ns, id, kind, key), _) in view.list::<Leased>()? {
            match (reach.get(&(ns.clone(), id.clone())), Resource::held(&kind, &key)) {
                // What an ingest expects is kept whole, however flat the lease.
                (Some(_), Ok(resource @ Resource::Ingest(_))) => marked.graph.root(resource.node(&ns), Reach::Full),
                (Some(reach), Ok(resource)) => marked.graph.root(resource.node(&ns), *reach),
                (None, _) => marked.orphans.push((ns, id, kind, key)),
                (Some(_), Err(_)) => {}
            }
        }
        Ok(())
    }

    fn sweep(&self, marked: &mut Marked, young: &Collecting<'_>) -> Result<Vec<Node>> {
        let order = marked.graph.referrers_first(&marked.victims);
        let mut removed = Vec::new();
        let mut seen = 0;
        for chunk in order.chunks(SWEEP) {
            let mut batch = Batch::new();
            let mut claims = Vec::new();
            for node in chunk {
                let claim = self.claim(node);
                marked.shade(young, &mut seen);
                let Some(claim) = claim.filter(|_| !marked.marks.contains(node)) else {
                    marked.graph.mark_from(&mut marked.marks, node.clone(), Reach::Full);
                    continue;
                };
                if self.sweep_one(&mut batch, node, marked)? {
                    removed.push(node.clone());
                    claims.push(claim);
                }
            }
            failpoint!("store::collect::sweep");
            self.store.commit(batch)?;
        }
        Ok(removed)
    }

    /// The claim under which others decide about this thing; none if somebody does so now.
    fn claim(&self, node: &Node) -> Option<Claim> {
        let key = match &node.kind {
            Kind::Content => blob_claim(&node.key.parse().ok()?),
            Kind::Snapshot(name) => SnapshotStore::claim_key(&node.ns, name, &node.key),
            Kind::Image | Kind::Container | Kind::Ingest | Kind::Mount | Kind::Holder(_) => Self::claim_key(node),
        };
        self.store.claims().try_claim(key)
    }

    /// Under which other rooms decide about their own.
    pub fn claim_key(node: &Node) -> String {
        format!("{node}")
    }

    fn sweep_one(&self, batch: &mut Batch, node: &Node, marked: &Marked) -> Result<bool> {
        match &node.kind {
            Kind::Content => {
                let Ok(digest) = node.key.parse::<Digest>() else {
                    return Ok(false);
                };
                self.blobs.sweep_in(batch, &node.ns, &digest)
            }
            Kind::Snapshot(name) => self.snapshots.sweep_in(batch, &node.ns, name, &node.key),
            Kind::Mount => match self.mounts.get() {
                Some(mounts) => mounts.forget(batch, node),
                None => Ok(false),
            },
            Kind::Image | Kind::Container | Kind::Ingest | Kind::Holder(_) => {
                let Some((table, key)) = marked.rows.get(node) else {
                    return Ok(false);
                };
                if !self.store.contains_row(table, key)? {
                    return Ok(false);
                }
                batch.delete_raw(table, key.clone());
                let name = node.key.clone();
                batch.tell(&node.ns, &Happening::ImageDelete { name })?;
                Ok(true)
            }
        }
    }

    fn sweep_leases(&self, marked: &Marked) -> Result<Vec<(Namespace, LeaseId)>> {
        let mut ended = Vec::new();
        for (ns, id) in &marked.expired_leases {
            let _claim = self.store.claims().claim(lease::claim_key(ns, id))?;
            // One that was made anew under the same id meanwhile is another one.
            let lease: Option<Lease> = self.store.get(&(ns.clone(), id.clone()))?;
            if lease.is_some_and(|lease| gc::is_expired(&lease.labels, SystemTime::now())) {
                let mut batch = Batch::new();
                self.leases.delete_in(&mut batch, ns, id)?;
                self.store.commit(batch)?;
                ended.push((ns.clone(), id.clone()));
            }
        }
        let mut batch = Batch::new();
        for key in &marked.orphans {
            let lease = (key.0.clone(), key.1.clone());
            if !self.store.contains::<Lease>(&lease)? {
                batch.delete::<Leased>(key);
            }
        }
        if !batch.is_empty() {
            self.store.commit(batch)?;
        }
        Ok(ended)
    }

    /// Collects on a thread of its own, some time after each request and at least every hour.
    pub fn background(self: Arc<Self>) -> Result<Background> {
        let (requests, wake) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("collector".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || self.run(&wake))
            .map_err(|source| Error::Spawn { source })?;
        Ok(Background {
            requests: Some(requests),
            thread: Some(thread),
        })
    }

    fn run(&self, wake: &mpsc::Receiver<()>) {
        let mut next = AT_LEAST;
        loop {
            match wake.recv_timeout(next) {
                Ok(()) if gathered(wake) => {}
                Ok(()) => return,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
            next = AT_LEAST;
            match self.collect_older(SPARED) {
                Ok(collected) => {
                    if collected.spared {
                        next = SPARED;
                    }
                    collected.tell();
                }
                Err(error) => tracing::warn!(err = %error, "collection failed; the next one tries again"),
            }
        }
    }
}

impl Collected {
    fn tell(&self) {
        let nothing = Self {
            spared: self.spared,
            ..Self::default()
        };
        if *self != nothing {
            tracing::info!(
                removed = self.removed.len(),
                layers = self.layers,
                freed = self.freed,
                "collected what nothing refers to"
            );
        }
    }
}

/// Lets other requests come, which are served by the same round; false at the daemon's end.
fn gathered(wake: &mpsc::Receiver<()>) -> bool {
    let until = Instant::now() + GATHER;
    loop {
        match wake.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(()) => {}
            Err(mpsc::RecvTimeoutError::Timeout) => return true,
            Err(mpsc::RecvTimeoutError::Disconnected) => return false,
        }
    }
}

impl Marked {
    fn candidate(&mut self, facts: Option<Facts>, now: SystemTime, spared: bool) {
        if let Some(facts) = facts {
            self.graph.add(&facts, now);
            if spared {
                self.graph.root(facts.node.clone(), Reach::Full);
                self.spared = true;
            }
            self.victims.insert(facts.node);
        }
    }

    /// Marks from what has become young since the last look.
    fn shade(&mut self, young: &Collecting<'_>, seen: &mut usize) {
        let count = young.count();
        if count != *seen {
            for node in young.all() {
                self.graph.mark_from(&mut self.marks, node, Reach::Full);
            }
            *seen = count;
        }
    }
}

/// The collector's thread. Dropped, it ends after the round that runs.
pub struct Background {
    requests: Option<mpsc::SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Asks for a collection; one that is asked for already is enough.
    pub fn request(&self) {
        if let Some(requests) = &self.requests {
            let _full_means_asked = requests.try_send(());
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            let _panicked_is_logged = thread.join();
        }
    }
}
