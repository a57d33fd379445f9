//! The engine's records in the store: what they are called, and one batch per step of a use case.

use crate::context::Context;
use crate::events::Event;
use crate::exchange;
use crate::exec::{ExecRecord, ExecState};
use crate::image::ImageRecord;
use crate::keeper::Keeper;
use crate::volume::{Brought, Going};
use gantry_core::container::{ContainerRecord, Tally};
use gantry_core::gc::{Facts, Node};
use gantry_core::health::Health;
use gantry_core::lifecycle::State;
use gantry_core::meta::Happening;
use gantry_core::{ContainerId, Error, ErrorKind, ExecId, Labels, Namespace, Result};
use gantry_store::{Batch, Claim, Collector, Forgotten, Made, Record, Remains, Store};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long a claim of a name may wait for another claimant.
const CLAIM: Duration = Duration::from_secs(10);
/// Topic of the engine's own events in the store's history.
pub const TOPIC: &str = "/gantry/event";

type ContainerKey = (Namespace, ContainerId);

/// What a container is.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Container(ContainerRecord);

/// Where it is in its life; apart from what it is, since this changes often and is small.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Course {
    #[serde(flatten)]
    pub state: State,
    #[serde(default)]
    pub tally: Tally,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// It is frozen for a while only: a daemon that finds it so thaws it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub brief: bool,
    /// Memory kills of its run that were told.
    #[serde(default)]
    pub memory_kills: u64,
}

impl Course {
    pub fn new(state: State) -> Self {
        Self {
            state,
            tally: Tally::default(),
            health: None,
            brief: false,
            memory_kills: 0,
        }
    }
}

/// Whose a name is.
#[derive(Serialize, Deserialize)]
struct Name {
    container: ContainerId,
}

/// An exec, by its own id.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Exec(ExecRecord);

/// What an image name points at.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub struct Image(pub ImageRecord);

impl Record for Container {
    type Key = ContainerKey;
    const TABLE: &'static str = "containers";
    const VERSION: u16 = 1;

    /// A container keeps its layer and its image.
    fn facts(&self, (ns, id): &Self::Key) -> Option<Facts> {
        let record = &self.0;
        let mut needs = vec![
            Node::snapshot(ns, &record.snapshotter, &record.snapshot_key),
            Node::content(ns, &record.image_id),
        ];
        if !record.chain_id.is_empty() {
            needs.push(Node::snapshot(ns, &record.snapshotter, &record.chain_id));
        }
        Some(Facts {
            node: Node::new(ns, gantry_core::gc::Kind::Container, id.as_str()),
            root: true,
            needs,
            labels: Labels::new(),
        })
    }
}

impl Record for Course {
    type Key = ContainerKey;
    const TABLE: &'static str = "container_states";
    const VERSION: u16 = 1;
}

impl Record for Name {
    type Key = (Namespace, String);
    const TABLE: &'static str = "names";
    const VERSION: u16 = 1;
}

impl Record for Exec {
    type Key = (Namespace, ExecId);
    const TABLE: &'static str = "execs";
    const VERSION: u16 = 1;
}

impl Record for Image {
    type Key = (Namespace, String);
    const TABLE: &'static str = "images";
    const VERSION: u16 = 1;

    fn facts(&self, (ns, name): &Self::Key) -> Option<Facts> {
        Some(Facts {
            node: Node::image(ns, name),
            root: true,
            needs: vec![Node::content(ns, &self.0.target.digest)],
            labels: self.0.labels.clone(),
        })
    }
}

/// Tells the collector which of the engine's records keep things.
pub fn sources(collector: &Collector) {
    collector.read::<Container>();
    collector.read::<Image>();
    crate::activations::sources(collector);
    crate::meta::sources(collector);
}

/// Commits a batch with its events and answers the events with their numbers.
pub(crate) fn commit(context: &Context, batch: Batch, events: Vec<Event>) -> Result<Vec<Event>> {
    commit_telling(context, batch, events, &[])
}

/// The same, and tells containerd's clients what happened.
fn commit_telling(
    context: &Context,
    mut batch: Batch,
    events: Vec<Event>,
    happenings: &[Happening],
) -> Result<Vec<Event>> {
    if batch.is_empty() && events.is_empty() {
        return Ok(events);
    }
    for event in &events {
        let payload =
            serde_json::to_value(event).map_err(|error| Error::internal(format!("encode an event: {error}")))?;
        batch.event(gantry_store::Event {
            ns: context.namespace.clone(),
            topic: TOPIC.to_owned(),
            at: event.time,
            payload,
        });
    }
    // After the engine's own: the first numbers are theirs.
    for happening in happenings {
        batch.event(exchange::told(&context.namespace, SystemTime::now(), happening)?);
    }
    let numbers = context.store.commit(batch)?;
    Ok(events
        .into_iter()
        .zip(numbers)
        .map(|(event, sequence)| Event { sequence, ..event })
        .collect())
}

pub fn append_events(context: &Context, events: Vec<Event>) -> Result<Vec<Event>> {
    commit(context, Batch::new(), events)
}

pub fn events_since(context: &Context, since: SystemTime) -> Result<Vec<Event>> {
    let past = context.store.events_since(since)?;
    let own = past
        .into_iter()
        .filter(|(_, event)| event.topic == TOPIC && event.ns == context.namespace);
    let readable = own.filter_map(
        |(sequence, event)| match serde_json::from_value::<Event>(event.payload) {
            Ok(event) => Some(Event { sequence, ..event }),
            Err(error) => {
                tracing::warn!(sequence, err = %error, "an event cannot be read and is told to nobody");
                None
            }
        },
    );
    Ok(readable.collect())
}

fn key(context: &Context, id: &ContainerId) -> ContainerKey {
    (context.namespace.clone(), id.clone())
}

/// The engine's container of this id.
pub fn container(store: &Store, key: &ContainerKey) -> Result<Option<ContainerRecord>> {
    Ok(store.get::<Container>(key)?.map(|Container(record)| record))
}

/// The engine's containers of a namespace, by id.
pub fn containers(store: &Store, ns: &Namespace) -> Result<Vec<ContainerRecord>> {
    let all = store.scan::<Container>(ns)?;
    Ok(all.into_iter().map(|(_, Container(record))| record).collect())
}

/// Whether the engine has a container of this id.
pub fn is_container(store: &Store, key: &ContainerKey) -> Result<bool> {
    Ok(store.contains::<Container>(key)?)
}

/// Claims the names of a namespace's images.
fn claim_images(store: &Store, ns: &Namespace) -> Result<Claim> {
    Ok(store.claim(format!("image/{ns}"), CLAIM)?)
}

/// The same, and the name against the collector, which takes what has expired.
pub fn claim_image(store: &Store, (ns, name): &(Namespace, String)) -> Result<(Claim, Claim)> {
    let names = claim_images(store, ns)?;
    Ok((names, store.claim(Node::image(ns, name).to_string(), CLAIM)?))
}

/// Every container with its state.
pub fn load(context: &Context) -> Result<Vec<(ContainerRecord, Course)>> {
    let mut found = Vec::new();
    for (key, Container(record)) in context.store.scan::<Container>(&context.namespace)? {
        let course = context.store.get::<Course>(&key)?;
        // A state that was lost with a damaged record: whatever it held is looked for and cleared.
        let course = course.unwrap_or_else(|| {
            Course::new(State::Clearing {
                ended: None,
                start: false,
            })
        });
        found.push((record, course));
    }
    Ok(found)
}

/// Docker's words for a name that is taken.
pub fn name_taken(name: &str, owner: &ContainerId) -> Error {
    Error::conflict(format!(
        "Conflict. The container name \"/{name}\" is already in use by container \"{owner}\". You have to remove (or rename) that container to be able to reuse that name."
    ))
}

/// Claims the name of a container to be created: held until the record is durable, refused if it is somebody's.
pub fn claim_name(context: &Context, record: &ContainerRecord) -> Result<Claim> {
    let claim = context
        .store
        .claim(format!("name/{}/{}", context.namespace, record.name), CLAIM)?;
    match context
        .store
        .get::<Name>(&(context.namespace.clone(), record.name.clone()))?
    {
        Some(owner) => Err(name_taken(&record.name, &owner.container)),
        None => Ok(claim),
    }
}

/// What is to be told, and what must be held until the container is known to everybody.
pub type Recorded = (Vec<Event>, Vec<Claim>);

/// Writes a new container, its layer and its volumes; its name must be claimed. Answers what holds its volumes until it is known.
pub fn create(
    context: &Context,
    record: &ContainerRecord,
    mut layer: Made,
    brought: Brought,
    mut events: Vec<Event>,
) -> Result<Recorded> {
    let mut batch = Batch::new();
    layer.record_in(&mut batch)?;
    let mut told = brought.record_in(&mut batch)?;
    told.append(&mut events);
    let events = told;
    batch.put(&key(context, &record.id), &Container(record.clone()))?;
    batch.put(&key(context, &record.id), &Course::new(State::Created))?;
    batch.put(
        &(context.namespace.clone(), record.name.clone()),
        &Name {
            container: record.id.clone(),
        },
    )?;
    let told = commit(context, batch, events)?;
    layer.keep();
    Ok((told, brought.keep()))
}

/// Claims what is written of a container: held by whoever reads and changes it, or takes it out of the books.
fn claim_container(context: &Context, id: &ContainerId) -> Result<Claim> {
    Ok(context
        .store
        .claim(format!("container/{}/{id}", context.namespace), CLAIM)?)
}

/// Changes what a container is. `change` is given what is written down at that moment and nobody else changes it meanwhile, so no
/// change is lost to another one's, and a container that is being deleted is not written back. Everybody sees it in the order in which
/// it was written. Another name is claimed and the former one given up.
pub(crate) fn change<F>(context: &Context, keeper: &Keeper, change: F) -> Result<(Arc<ContainerRecord>, Vec<Event>)>
where
    F: FnOnce(&mut ContainerRecord) -> Result<Vec<Event>>,
{
    let id = keeper.id();
    let _claim = claim_container(context, id)?;
    let Some(Container(old)) = context.store.get::<Container>(&key(context, id))? else {
        return Err(Error::not_found(format!("No such container: {id}")));
    };
    let mut record = old.clone();
    let events = change(&mut record)?;
    let mut batch = Batch::new();
    let renamed = old.name != record.name;
    let _name = renamed.then(|| claim_name(context, &record)).transpose()?;
    if renamed {
        batch.put(
            &(context.namespace.clone(), record.name.clone()),
            &Name { container: id.clone() },
        )?;
        batch.delete::<Name>(&(context.namespace.clone(), old.name.clone()));
    }
    batch.put(&key(context, id), &Container(record.clone()))?;
    let told = commit(context, batch, events)?;
    if renamed {
        context.registry.renamed(id, &old.name, &record.name);
    }
    Ok((keeper.set_record(record), told))
}

/// Writes where a container is now.
pub fn write_course(context: &Context, id: &ContainerId, course: &Course, events: Vec<Event>) -> Result<Vec<Event>> {
    let mut batch = Batch::new();
    match &course.state {
        // Nothing is touched in it before the batch that deletes the records: a daemon that dies finds the container as it was.
        State::Removing { .. } => {}
        // The records are gone.
        State::Removed => {}
        // On its way to run, nothing of it outlives a boot: it is written before anything is made, and a killed daemon finds it, but
        // the disk is not waited for.
        State::Preparing { .. } | State::Prepared { .. } | State::Starting { .. } if events.is_empty() => {
            note_course(context, id, course)?;
            return Ok(events);
        }
        State::Created
        | State::Preparing { .. }
        | State::Prepared { .. }
        | State::Starting { .. }
        | State::Running { .. }
        | State::Pausing { .. }
        | State::Paused { .. }
        | State::Resuming { .. }
        | State::Clearing { .. }
        | State::Exited { .. }
        | State::Restarting { .. }
        | State::Dead { .. } => batch.put(&key(context, id), course)?,
    }
    commit(context, batch, events)
}

/// The same, and a kill does not lose it, but the disk is not waited for.
pub fn note_course(context: &Context, id: &ContainerId, course: &Course) -> Result<()> {
    if matches!(course.state, State::Removing { .. } | State::Removed) {
        return Ok(());
    }
    let mut batch = Batch::new();
    batch.put(&key(context, id), course)?;
    context.store.commit_unsynced(batch)?;
    Ok(())
}

/// Deletes all records of a container, its layer's and its execs' too, and writes down that volumes go with it. Answers the events, and
/// the layer's directory, to be removed.
pub fn delete(
    context: &Context,
    record: &ContainerRecord,
    going: Option<&Going>,
    mut events: Vec<Event>,
) -> Result<(Vec<Event>, Option<Remains>)> {
    let _claim = claim_container(context, &record.id)?;
    let mut batch = Batch::new();
    if let Some(going) = going {
        events.extend(going.record_in(&mut batch)?);
    }
    let layer = context
        .snapshots
        .forget_in(
            &mut batch,
            &context.namespace,
            &record.snapshotter,
            &record.snapshot_key,
        )
        .map_err(Error::from);
    let layer = match layer {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        layer => Some(
            layer.map_err(|error| error.context(format!("remove the root filesystem of container {}", record.id)))?,
        ),
    };
    batch.delete::<Container>(&key(context, &record.id));
    batch.delete::<Course>(&key(context, &record.id));
    let current = context
        .store
        .get::<Container>(&key(context, &record.id))?
        .map_or_else(|| record.name.clone(), |now| now.0.name);
    batch.delete::<Name>(&(context.namespace.clone(), current));
    for exec in context.execs.all_of(&record.id) {
        batch.delete::<Exec>(&(context.namespace.clone(), exec.clone()));
    }
    let told = commit(context, batch, events)?;
    for exec in context.execs.all_of(&record.id) {
        context.execs.remove(exec.as_str());
    }
    Ok((told, layer.and_then(Forgotten::remains)))
}

pub fn put_exec(context: &Context, record: &ExecRecord) -> Result<()> {
    let mut batch = Batch::new();
    batch.put(&(context.namespace.clone(), record.id.clone()), &Exec(record.clone()))?;
    commit(context, batch, Vec::new()).map(drop)
}

pub fn delete_exec(context: &Context, id: &ExecId) -> Result<()> {
    let mut batch = Batch::new();
    batch.delete::<Exec>(&(context.namespace.clone(), id.clone()));
    commit(context, batch, Vec::new()).map(drop)
}

/// Every exec whose container is there; records of others are dropped.
pub fn load_execs(context: &Context) -> Result<Vec<ExecRecord>> {
    let mut found = Vec::new();
    for (key, Exec(record)) in context.store.scan::<Exec>(&context.namespace)? {
        let done = matches!(record.state, ExecState::Exited { .. });
        if done || context.registry.get(&record.container).is_none() {
            delete_exec(context, &key.1)?;
        } else {
            found.push(record);
        }
    }
    Ok(found)
}

pub fn images(context: &Context) -> Result<Vec<ImageRecord>> {
    Ok(context
        .store
        .scan::<Image>(&context.namespace)?
        .into_iter()
        .map(|(_, image)| image.0)
        .collect())
}

pub fn image(context: &Context, name: &str) -> Result<Option<ImageRecord>> {
    Ok(context
        .store
        .get::<Image>(&(context.namespace.clone(), name.to_owned()))?
        .map(|image| image.0))
}

/// Gives an image a name. If another image loses its last name by that, it stays as a dangling one.
pub fn name_image(context: &Context, record: ImageRecord, events: Vec<Event>) -> Result<Vec<Event>> {
    let _claim = claim_image(&context.store, &(context.namespace.clone(), record.name.clone()))?;
    let mut batch = Batch::new();
    let all = images(context)?;
    let mut record = record;
    let old = all.iter().find(|other| other.name == record.name);
    if let Some(old) = old {
        record.created_at = old.created_at;
        record.labels = old.labels.clone();
        let orphaned = old.target.digest != record.target.digest
            && !all
                .iter()
                .any(|other| other.name != old.name && other.target.digest == old.target.digest);
        if orphaned {
            put_image(context, &mut batch, &ImageRecord::dangling(old.target.clone()))?;
        }
    }
    if !record.is_dangling() {
        let nameless = ImageRecord::dangling(record.target.clone());
        batch.delete::<Image>(&(context.namespace.clone(), nameless.name));
    }
    put_image(context, &mut batch, &record)?;
    let (name, labels) = (record.name.clone(), record.labels.clone());
    let happening = match old {
        _ if record.is_dangling() => None,
        Some(_) => Some(Happening::ImageUpdate { name, labels }),
        None => Some(Happening::ImageCreate { name, labels }),
    };
    let _kept = context.store.appear(&mut batch, &context.namespace)?;
    commit_telling(context, batch, events, happening.as_slice())
}

fn put_image(context: &Context, batch: &mut Batch, record: &ImageRecord) -> Result<()> {
    Ok(batch.put(
        &(context.namespace.clone(), record.name.clone()),
        &Image(record.clone()),
    )?)
}

/// Takes names away, and puts a dangling record in their place if the image must stay.
pub fn unname_images(
    context: &Context,
    going: &[ImageRecord],
    keep: Option<ImageRecord>,
    events: Vec<Event>,
) -> Result<Vec<Event>> {
    let _claim = claim_images(&context.store, &context.namespace)?;
    let mut batch = Batch::new();
    for record in going {
        batch.delete::<Image>(&(context.namespace.clone(), record.name.clone()));
    }
    if let Some(record) = keep {
        put_image(context, &mut batch, &record)?;
    }
    let named = going.iter().filter(|record| !record.is_dangling());
    let happenings: Vec<Happening> = named
        .map(|record| Happening::ImageDelete {
            name: record.name.clone(),
        })
        .collect();
    commit_telling(context, batch, events, &happenings)
}

/// Collects what nothing refers to.
pub fn collect(context: &Context) -> Result<()> {
    context.collector.collect()?;
    Ok(())
}
