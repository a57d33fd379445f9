//! Removing networks.

use super::{Networks, leave, plan, records};
use crate::context::Context;
use crate::events::Event;
use crate::filters::Filters;
use crate::{Engine, failpoint};
use gantry_core::network::{NetworkRecord, PREDEFINED};
use gantry_core::{Error, ErrorKind, Labels, Result};
use std::sync::Arc;
use std::time::SystemTime;

impl Engine {
    pub async fn remove_network(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.network_work(move |context| {
            let record = context.networks.find(&name)?;
            let told = context.networks.remove(context, &record)?;
            Ok(((), told))
        })
        .await
    }

    /// Removes networks that no container uses; answers their names.
    pub async fn prune_networks(&self, filters: Filters) -> Result<Vec<String>> {
        filters.check(&["label", "label!", "until"])?;
        let before = filters.until()?;
        let alone = self.context.pruning.turn().await;
        let engine = self.clone();
        self.network_work(move |context| {
            let _alone = alone;
            let (mut names, mut told) = (Vec::new(), Vec::new());
            for record in context.networks.all() {
                let spared = PREDEFINED.contains(&record.name.as_str())
                    || context.networks.is_used(&record.id)
                    || engine.is_wanted(&record)
                    || before.is_some_and(|before: SystemTime| record.created_at >= before);
                if spared || !filters.labels(&record.labels) || !filters.lacks_labels(&record.labels) {
                    continue;
                }
                match context.networks.remove(context, &record) {
                    Ok(more) => told.extend(more),
                    // Somebody is in it, on another host or since we looked, or has removed it.
                    Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::NotFound) => continue,
                    Err(error) => {
                        tracing::warn!(network = record.name, err = %error, "the network is not pruned");
                        continue;
                    }
                }
                names.push(record.name.clone());
            }
            Ok((names, told))
        })
        .await
    }

    /// Whether some container, started or not, is to join the network when it starts.
    fn is_wanted(&self, record: &NetworkRecord) -> bool {
        let all = self.context.registry.all();
        all.iter().any(|keeper| plan::is_wanted(&keeper.record(), record))
    }
}

impl Networks {
    fn remove(&self, context: &Context, record: &NetworkRecord) -> Result<Vec<Event>> {
        if PREDEFINED.contains(&record.name.as_str()) {
            return Err(Error::new(
                ErrorKind::PermissionDenied,
                format!("{} is a pre-defined network and cannot be removed", record.name),
            ));
        }
        self.leaving.wait(leave::PATIENCE);
        let _alone = self.defining.lock();
        self.by_id(&record.id)?;
        self.refuse_used(record)?;
        // Who enters now does not find it, or is found.
        self.records.write().remove(&record.id);
        let removed = self.refuse_used(record).and_then(|()| self.take_away(context, record));
        match &removed {
            Ok(_) => {
                self.addresses.remove(&record.id);
                self.making.lock().remove(&record.id);
            }
            Err(_) => drop(self.records.write().insert(record.id.clone(), Arc::new(record.clone()))),
        }
        removed
    }

    fn refuse_used(&self, record: &NetworkRecord) -> Result<()> {
        match self.user_of(&record.id) {
            None => Ok(()),
            Some(user) => Err(Error::new(
                ErrorKind::PermissionDenied,
                format!(
                    "error while removing network: network {} id {} has active endpoints (name:\"{user}\")",
                    record.name, record.id
                ),
            )),
        }
    }

    fn take_away(&self, context: &Context, record: &NetworkRecord) -> Result<Vec<Event>> {
        self.forbid(record)?;
        failpoint!("engine::network::remove::closed");
        if let Some(cluster) = self.shared(record)? {
            cluster.remove(record)?;
        }
        self.driver(&record.driver)?.remove(record)?;
        failpoint!("engine::network::remove::gone");
        records::delete_network(context, record, vec![records::event(record, "destroy", Labels::new())])
    }
}
