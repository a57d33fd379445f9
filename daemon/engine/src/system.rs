//! The daemon itself: what it is, how it is, what happens.

use crate::Engine;
use crate::events::Event;
use crate::filters::Filters;
use crate::gate::blocking;
use crate::records;
use gantry_core::lifecycle::Status;
use gantry_core::reference::Reference;
use gantry_core::{Error, Result};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{broadcast, mpsc};

mod usage;

pub use usage::{ContainerUsage, ImageUsage, Measure, Usage};

const KNOWN: &[&str] = &[
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "scope",
    "type",
    "volume",
];
/// Events under way to one subscriber; when full, the subscriber's own pace holds and the bus counts what it misses.
const STREAM: usize = 256;

/// Counts and facts for `info`.
#[derive(Debug, Clone, Default)]
pub struct Info {
    pub running: usize,
    pub paused: usize,
    pub stopped: usize,
    pub images: usize,
    pub operating_system: String,
    /// Bytes.
    pub memory: u64,
    pub snapshotter: String,
    pub snapshotter_status: Vec<(String, String)>,
    pub runtimes: Vec<String>,
    /// Those that keep something.
    pub log_drivers: Vec<String>,
    pub network_drivers: Vec<String>,
    /// What rules the logs of containers that say nothing themselves.
    pub logging_options: BTreeMap<String, String>,
    pub warnings: Vec<String>,
}

/// Events to a subscriber, each with the number missed before it.
pub type EventStream = mpsc::Receiver<Result<(Event, u64)>>;

impl Engine {
    pub fn config(&self) -> &crate::Config {
        &self.context.config
    }

    pub fn facts(&self) -> &gantry_core::spec::HostFacts {
        &self.context.facts
    }

    pub async fn info(&self) -> Result<Info> {
        let mut info = Info {
            snapshotter: self.context.config.snapshotter.clone(),
            ..Info::default()
        };
        for keeper in self.context.registry.all() {
            match keeper.state().status() {
                Status::Running | Status::Restarting => info.running += 1,
                Status::Paused => info.paused += 1,
                Status::Created | Status::Removing | Status::Exited | Status::Dead => info.stopped += 1,
            }
        }
        info.images = self.images(crate::ListImages::default()).await?.len();
        info.snapshotter_status = self.snapshotter_status();
        info.operating_system = crate::host::os_name();
        info.memory = crate::host::total_memory();
        info.runtimes = self.context.runtimes();
        info.log_drivers = crate::container::logging::DRIVERS.map(str::to_owned).to_vec();
        info.network_drivers = self.context.networks.driver_names();
        let log = &self.context.config.log;
        info.logging_options = crate::container::logging::in_force(&log.driver, &log.options);
        info.warnings = crate::host::warnings(&self.context.facts);
        Ok(info)
    }

    fn snapshotter_status(&self) -> Vec<(String, String)> {
        let root = self.context.config.data_root.clone();
        let filesystem = crate::host::filesystem_name(&root).unwrap_or_else(|| "unknown".to_owned());
        vec![("Backing Filesystem".to_owned(), filesystem)]
    }

    /// Past events since `since` (all of them where only `until` is given), then live ones, until `until` or until the receiver goes.
    pub async fn events(
        &self,
        since: Option<SystemTime>,
        until: Option<SystemTime>,
        filters: Filters,
    ) -> Result<EventStream> {
        filters.check(KNOWN)?;
        if let (Some(since), Some(until)) = (since, until)
            && since > until
        {
            return Err(Error::invalid("`since` must not be later than `until`"));
        }
        // Subscribe before reading the past, so that nothing falls between; doubles are told by their number.
        let live = self.context.bus.subscribe();
        // A bound alone asks for all that was before it.
        let past = match since.or_else(|| until.map(|_| UNIX_EPOCH)) {
            Some(since) => {
                let context = self.context.clone();
                blocking(move || records::events_since(&context, since)).await?
            }
            None => Vec::new(),
        };
        let (sender, receiver) = mpsc::channel(STREAM);
        tokio::spawn(deliver(past, live, until, filters, sender));
        Ok(receiver)
    }
}

async fn deliver(
    past: Vec<Event>,
    mut live: broadcast::Receiver<Event>,
    until: Option<SystemTime>,
    filters: Filters,
    sender: mpsc::Sender<Result<(Event, u64)>>,
) {
    let mut last = 0;
    let in_time = |event: &Event| until.is_none_or(|until| event.time <= until);
    for event in past {
        last = last.max(event.sequence);
        let wanted = matches(&event, &filters) && in_time(&event);
        if wanted && sender.send(Ok((event, 0))).await.is_err() {
            return;
        }
    }
    let end = async {
        match until {
            Some(until) => tokio::time::sleep(until.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO)).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(end);
    let mut missed = 0;
    loop {
        // What happened in time is told though the end has come: it is looked for first.
        let next = tokio::select! {
            biased;
            () = sender.closed() => return,
            next = live.recv() => next,
            () = &mut end => return,
        };
        match next {
            Ok(event) if event.sequence <= last => {}
            Ok(event) if !in_time(&event) => return,
            Ok(event) if !matches(&event, &filters) => {}
            Ok(event) => {
                if sender.send(Ok((event, std::mem::take(&mut missed)))).await.is_err() {
                    return;
                }
            }
            Err(broadcast::error::RecvError::Lagged(count)) => missed += count,
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

fn matches(event: &Event, filters: &Filters) -> bool {
    let name = event.attributes.get("name").map(String::as_str).unwrap_or_default();
    // As in Docker, a beginning is enough, and nobody asks of which kind the event is.
    let begins = |key: &str| filters.any(key, |value| event.actor.starts_with(value) || name.starts_with(value));
    filters.any("type", |value| value == event.kind)
        && filters.any("event", |value| {
            event.action == value || event.action.starts_with(&format!("{value}:"))
        })
        && ["container", "volume", "network", "daemon"].into_iter().all(begins)
        && filters.any("image", |value| names_image(event, name, value))
        && filters.any("scope", |value| value == "local")
        && filters.labels(&event.attributes)
}

/// An image's event, or that of something made from it; the name is as good without its tag.
fn names_image(event: &Event, name: &str, wanted: &str) -> bool {
    let image = match event.kind.as_str() {
        "image" => name,
        _ => event.attributes.get("image").map(String::as_str).unwrap_or_default(),
    };
    let bare = |text: &str| Reference::parse(text).map_or_else(|_| text.to_owned(), |image| image.familiar_name());
    [event.actor.as_str(), image]
        .into_iter()
        .any(|text| text == wanted || bare(text) == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_core::Labels;

    #[test]
    fn filters_on_events() {
        let attributes = Labels::from([("name".into(), "web".into()), ("image".into(), "busybox:latest".into())]);
        let event = Event::new("container", "exec_create: ls -l", "abc123", attributes);
        let with = |key: &str, value: &str| Filters([(key.to_owned(), vec![value.to_owned()])].into());
        for (key, value, expected) in [
            ("type", "container", true),
            ("type", "image", false),
            ("event", "exec_create", true),
            ("event", "exec", false),
            ("container", "web", true),
            ("container", "abc", true),
            ("container", "we", true),
            ("container", "db", false),
            ("volume", "data", false),
            ("image", "busybox", true),
            ("image", "busybox:latest", true),
            ("image", "alpine", false),
        ] {
            assert_eq!(matches(&event, &with(key, value)), expected, "{key}={value}");
        }
        let volume = Event::new("volume", "create", "database", Labels::new());
        assert!(matches(&volume, &with("volume", "data")) && !matches(&volume, &with("network", "x")));
        let image = Labels::from([("name".into(), "localhost:5000/x:1".into())]);
        let pulled = Event::new("image", "pull", "localhost:5000/x:1", image);
        assert!(matches(&pulled, &with("image", "localhost:5000/x")) && !matches(&pulled, &with("image", "localhost")));
    }

    /// With an end that is past, what happened before it is told, and nothing after it.
    #[tokio::test]
    async fn an_end_that_is_past() {
        let at = |sequence, seconds| Event {
            sequence,
            time: UNIX_EPOCH + Duration::from_secs(seconds),
            ..Event::new("container", "start", "a", Labels::new())
        };
        let bus = crate::events::Bus::default();
        let live = bus.subscribe();
        bus.publish(vec![at(2, 20), at(3, 30), at(4, 40), at(5, 30)]);
        let (sender, mut told) = mpsc::channel(STREAM);
        let until = Some(UNIX_EPOCH + Duration::from_secs(30));
        deliver(vec![at(1, 10), at(2, 20)], live, until, Filters::default(), sender).await;
        let mut numbers = Vec::new();
        while let Some(Ok((event, _))) = told.recv().await {
            numbers.push(event.sequence);
        }
        assert_eq!(numbers, [1, 2, 3]);
    }
}
