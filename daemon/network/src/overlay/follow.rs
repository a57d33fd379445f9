//! The two tasks of a cluster: one follows etcd's changes, one keeps our membership alive.

use super::Settings;
use super::client::{Etcd, put};
use super::records::{Host, Key, encode, folder};
use super::state::{News, State};
use super::wire::{EventType, TxnRequest, WatchResponse};
use crate::Result;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, watch};
use tokio::time::sleep;
use tracing::{debug, info, warn};

/// Changes that a watcher may be behind before it is told everything again.
const BEHIND: usize = 1024;
const RETRY: Duration = Duration::from_millis(250);
const RETRY_AT_MOST: Duration = Duration::from_secs(5);

pub struct Shared {
    pub etcd: Etcd,
    pub settings: Settings,
    known: Mutex<Known>,
    news: broadcast::Sender<News>,
    pub connected: watch::Sender<bool>,
}

/// `revision` 0 = etcd was never heard.
#[derive(Default)]
struct Known {
    state: Arc<State>,
    cluster: u64,
    revision: i64,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("host", &self.settings.host)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// What is known and what comes after it.
    pub fn begin(&self) -> (Option<Arc<State>>, broadcast::Receiver<News>) {
        // Under the lock that changes are told under: none is missed, none is told twice.
        let known = self.known.lock();
        let state = (known.revision > 0).then(|| known.state.clone());
        (state, self.news.subscribe())
    }

    pub fn new(settings: Settings) -> Result<Self> {
        Ok(Self {
            etcd: Etcd::new(&settings)?,
            settings,
            known: Mutex::default(),
            news: broadcast::channel(BEHIND).0,
            connected: watch::channel(false).0,
        })
    }

    pub fn state(&self) -> Option<Arc<State>> {
        let known = self.known.lock();
        (known.revision > 0).then(|| known.state.clone())
    }

    /// Follows for ever.
    pub async fn follow(self: Arc<Self>) {
        let mut wait = RETRY;
        loop {
            let ended = self.follow_once().await;
            if self.connected.send_replace(false) {
                wait = RETRY;
            }
            match ended {
                Ok(why) => info!(why, "the watch of the cluster store ended"),
                Err(error) => debug!(%error, "the cluster store cannot be followed"),
            }
            self.etcd.forget_token();
            sleep(wait).await;
            wait = (wait * 2).min(RETRY_AT_MOST);
        }
    }

    /// One watch. It begins with a look at everything: what came while nobody watched is told as changes, and no history has to be there
    /// for it.
    async fn follow_once(&self) -> Result<String> {
        let since = self.list().await?;
        let mut watching = self.etcd.watch(folder(""), since + 1).await?;
        loop {
            match watching.responses.message().await {
                Ok(Some(response)) if response.canceled => return Ok(response.cancel_reason),
                Ok(Some(response)) => self.apply(&response),
                Ok(None) => return Ok("etcd ended it".to_owned()),
                Err(status) => return Ok(status.message().to_owned()),
            }
        }
    }

    async fn list(&self) -> Result<i64> {
        let all = self.etcd.folder(folder("")).await?;
        let header = all.header.unwrap_or_default();
        let mut state = State::default();
        for pair in &all.kvs {
            state.put(pair);
        }
        let state = Arc::new(state);
        let mut known = self.known.lock();
        let same = known.revision > 0 && known.cluster == header.cluster_id && known.revision <= header.revision;
        let news = match same {
            true => state.since(&known.state).into_iter().map(News::Change).collect(),
            // Another etcd than it was, or one that was set back.
            false => vec![News::Everything(state.clone())],
        };
        *known = Known {
            state,
            cluster: header.cluster_id,
            revision: header.revision,
        };
        for one in news {
            // Nobody may be listening.
            let _ = self.news.send(one);
        }
        Ok(header.revision)
    }

    fn apply(&self, response: &WatchResponse) {
        let mut known = self.known.lock();
        for event in &response.events {
            let Some(pair) = &event.kv else { continue };
            let state = Arc::make_mut(&mut known.state);
            let change = match event.r#type() {
                EventType::Put => state.put(pair),
                EventType::Delete => state.delete(&pair.key),
            };
            if let Some(change) = change {
                let _ = self.news.send(News::Change(change));
            }
            known.revision = known.revision.max(pair.mod_revision);
        }
        drop(known);
        // The first answer says that the watch is made.
        self.connected
            .send_if_modified(|connected| !std::mem::replace(connected, true));
    }

    /// Keeps our membership for ever.
    pub async fn stay(self: Arc<Self>, lease: Arc<Mutex<Option<i64>>>) {
        let mut wait = RETRY;
        loop {
            let pause = match self.renew(&lease).await {
                Ok(()) => {
                    wait = RETRY;
                    self.settings.lease / 3
                }
                Err(error) => {
                    debug!(%error, "membership in the cluster cannot be renewed");
                    wait = (wait * 2).min(RETRY_AT_MOST);
                    wait
                }
            };
            sleep(pause).await;
        }
    }

    async fn renew(&self, lease: &Mutex<Option<i64>>) -> Result<()> {
        let held = *lease.lock();
        if let Some(id) = held {
            if self.etcd.keep_alive(id).await? {
                return Ok(());
            }
            warn!("the lease in the cluster store ran out; taking another");
            *lease.lock() = None;
        }
        let id = self.etcd.grant(self.settings.lease).await?;
        let host = Host {
            id: self.settings.host.clone(),
            vtep: self.settings.vtep,
        };
        let txn = TxnRequest {
            success: vec![put(Key::Host(host.id.clone()).bytes(), encode(&host)?, id)],
            ..TxnRequest::default()
        };
        self.etcd.txn("join the cluster", txn).await?;
        *lease.lock() = Some(id);
        Ok(())
    }
}
