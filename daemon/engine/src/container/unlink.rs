//! The end of a legacy link.

use crate::Engine;
use crate::gate::blocking;
use crate::network::plan;
use crate::records;
use gantry_core::{Error, Result};

impl Engine {
    /// Ends the link of this name, `linking/alias`. A linking container that runs loses the name from its hosts file; what it was
    /// given at its start besides, it has until its next one.
    pub async fn unlink(&self, name: &str) -> Result<()> {
        let linked = self.find(name)?;
        let Some((linking, alias)) = name.trim_start_matches('/').split_once('/') else {
            return Err(Error::conflict(
                "Conflict, cannot remove the default link name of the container",
            ));
        };
        let (linking, alias) = (self.find(linking)?, alias.to_owned());
        let context = self.context.clone();
        crate::finish(async move {
            blocking(move || {
                let (record, _) = records::change(&context, &linking, |record| {
                    let is_it = |text: &String| plan::link(text) == (linked.id().as_str(), alias.as_str());
                    let before = record.host.links.len();
                    record.host.links.retain(|text| !is_it(text));
                    match record.host.links.len() < before {
                        true => Ok(Vec::new()),
                        false => Err(Error::not_found(format!(
                            "container {} has no link {alias}",
                            record.name
                        ))),
                    }
                })?;
                context.networks.tell_hosts(&context, &record);
                Ok(())
            })
            .await
        })
        .await
    }
}
