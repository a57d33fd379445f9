//! What goes on beside requests: news of other hosts is taken in, and the store is told what it does not know.

use super::{Membership, adopted};
use crate::context::Context;
use crate::gate::blocking;
use crate::network::{Networks, records};
use gantry_core::network::{NetworkId, NetworkRecord, Scope};
use gantry_core::{Labels, Result};
use gantry_network::overlay::{Change, News};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use tracing::{debug, info, warn};

const RETRY: Duration = Duration::from_secs(1);
/// What was given up may still reach the store for so long.
const LATE: Duration = Duration::from_secs(5);
/// Keys grow old meanwhile.
const LOOK: Duration = Duration::from_secs(600);
const RETRY_AT_MOST: Duration = Duration::from_secs(30);

/// What news is about.
#[derive(Default)]
struct Touched {
    /// Networks came or went.
    networks: bool,
    everything: bool,
    /// Networks whose endpoints are others than before.
    members: BTreeSet<NetworkId>,
    /// There are other keys.
    keys: bool,
}

impl Touched {
    fn add(&mut self, news: News) {
        match news {
            News::Everything(_) => (self.networks, self.everything) = (true, true),
            News::Change(Change::Network(_) | Change::NetworkGone(_)) => self.networks = true,
            News::Change(Change::Endpoint(endpoint) | Change::EndpointGone(endpoint)) => {
                self.members.insert(endpoint.network);
            }
            News::Change(Change::Ring) => self.keys = true,
            News::Change(Change::Host(host)) => info!(host = host.id, vtep = %host.vtep, "a host joined the cluster"),
            News::Change(Change::HostGone(host)) => {
                info!(
                    host,
                    "a host of the cluster is silent; its containers may well be there"
                )
            }
        }
    }
}

impl Networks {
    /// Follows the cluster from now on, if there is one.
    pub fn follow(self: &Arc<Self>, context: &Arc<Context>) {
        let Some(cluster) = self.cluster.clone() else { return };
        let listener = self.runtime.spawn(listen(cluster.clone(), context.clone()));
        let speaker = self.runtime.spawn(speak(cluster.clone(), context.clone()));
        cluster
            .tasks
            .lock()
            .extend([listener.abort_handle(), speaker.abort_handle()]);
    }

    fn hear(&self, context: &Context, cluster: &Membership, touched: &Touched) -> Result<()> {
        if touched.networks {
            self.adopt(context, cluster)?;
        }
        if (touched.everything || touched.keys || !touched.members.is_empty())
            && let Err(error) = self.encrypt(None)
        {
            warn!(err = %error, "what goes between hosts cannot be encrypted as it should");
        }
        let all = self.records.read().values().cloned().collect::<Vec<_>>();
        let concerned = all.iter().filter(|network| {
            network.scope == Scope::Global && (touched.everything || touched.members.contains(&network.id))
        });
        let mut ids = Vec::new();
        for network in concerned {
            if let Err(error) = cluster.tell(network) {
                warn!(network = network.name, err = %error, "the kernel could not be told where other hosts' containers are");
            }
            ids.push(network.id.clone());
        }
        self.publish(&ids);
        Ok(())
    }

    /// Makes this host know the networks of the cluster, and no others of several hosts.
    fn adopt(&self, context: &Context, cluster: &Membership) -> Result<()> {
        let _alone = self.defining.lock();
        // What was known before the lock may be older than a network that was made under it here.
        let Some(state) = cluster.cluster.state() else {
            return Ok(());
        };
        for network in state.networks.values() {
            let record = adopted(network);
            let known = self.records.read().get(&record.id).cloned();
            if known.is_none_or(|known| *known != record) {
                let told =
                    records::put_network(context, &record, vec![records::event(&record, "create", Labels::new())])?;
                self.know(record);
                context.bus.publish(told);
            }
        }
        let gone =
            |network: &&Arc<NetworkRecord>| network.scope == Scope::Global && !state.networks.contains_key(&network.id);
        let gone: Vec<_> = self.records.read().values().filter(gone).cloned().collect();
        for network in gone {
            if self.is_used(&network.id) {
                warn!(
                    network = network.name,
                    "the cluster store does not know a network that containers are in here"
                );
                continue;
            }
            self.driver(&network.driver)?.remove(&network)?;
            let told = records::delete_network(
                context,
                &network,
                vec![records::event(&network, "destroy", Labels::new())],
            )?;
            self.forget(&network);
            context.bus.publish(told);
        }
        Ok(())
    }

    fn is_shared(&self, network: &NetworkId) -> bool {
        self.records
            .read()
            .get(network)
            .is_some_and(|network| network.scope == Scope::Global)
    }
}

/// Takes news in for ever; what came together is taken in together.
async fn listen(cluster: Arc<Membership>, context: Arc<Context>) {
    let mut changes = cluster.cluster.watch();
    while let Some(first) = changes.next().await {
        let mut touched = Touched::default();
        touched.add(first);
        while let Some(more) = changes.waiting() {
            touched.add(more);
        }
        let (worker, member) = (context.clone(), cluster.clone());
        let heard = blocking(move || worker.networks.hear(&worker, &member, &touched)).await;
        if let Err(error) = heard {
            warn!(err = %error, "news of the cluster could not be taken in altogether");
        }
    }
}

/// Tells the store for ever what is true: when it was reached, after it was away, and after something could not be said.
async fn speak(cluster: Arc<Membership>, context: Arc<Context>) {
    let mut connection = cluster.cluster.connection();
    let mut pause = RETRY;
    let mut look = LATE;
    loop {
        if connection.wait_for(|connected| *connected).await.is_err() {
            return;
        }
        let (worker, member) = (context.clone(), cluster.clone());
        let said = blocking(move || {
            let networks = &worker.networks;
            if networks.has_encrypted() {
                member.turn()?;
            }
            member.make_true(&networks.store, |network| networks.is_shared(network))
        });
        match said.await {
            Ok(()) => {
                pause = RETRY;
                let interval = std::mem::replace(&mut look, LATE);
                tokio::select! {
                    changed = connection.changed() => if changed.is_err() { return },
                    () = cluster.unsaid.notified() => {}
                    () = sleep(interval) => look = LOOK,
                }
            }
            Err(error) => {
                debug!(err = %error, "the cluster store could not be told what is true");
                sleep(pause).await;
                pause = (pause * 2).min(RETRY_AT_MOST);
            }
        }
    }
}
