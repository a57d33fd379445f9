//! The daemon itself: what it is, how it is, what happens.

use crate::Engine;
use crate::events::Event;
use crate::filters::Filters;
use crate::gate::blocking;
use crate::records;
use gantry_core::lifecycle::Status;
use gantry_core::{Error, Result};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};
use tokio::sync::{broadcast, mpsc};

mod usage;

pub use usage::{ContainerUsage, ImageUsage, Usage};

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
        let past = match since.or(until.map(|_| SystemTime::UNIX_EPOCH)) {
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
    for event in past {
        last = last.max(event.sequence);
        let wanted = matches(&event, &filters) && until.is_none_or(|until| event.time <= until);
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
        let next = tokio::select! {
            next = live.recv() => next,
            () = &mut end => return,
            () = sender.closed() => return,
        };
        match next {
            Ok(event) if event.sequence <= last => {}
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
    let image = event.attributes.get("image").map(String::as_str).unwrap_or_default();
    let is_container = event.kind == "container";
    filters.any("type", |value| value == event.kind)
        && filters.any("event", |value| {
            event.action == value || event.action.starts_with(&format!("{value}:"))
        })
        && filters.any("container", |value| {
            is_container && (name == value || event.actor.starts_with(value))
        })
        && filters.any("image", |value| match is_container {
            true => image == value || image.split(':').next() == Some(value),
            false => event.actor == value || name == value || event.actor.split(':').next() == Some(value),
        })
        && filters.any("volume", |value| event.kind == "volume" && event.actor == value)
        && filters.any("network", |value| {
            event.kind == "network" && (name == value || event.actor.starts_with(value))
        })
        && filters.any("daemon", |value| {
            event.kind == "daemon" && (name == value || event.actor == value)
        })
        && filters.any("scope", |value| value == "local")
        && filters.labels(&event.attributes)
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
            ("container", "db", false),
            ("image", "busybox", true),
            ("image", "busybox:latest", true),
            ("image", "alpine", false),
        ] {
            assert_eq!(matches(&event, &with(key, value)), expected, "{key}={value}");
        }
    }
}
