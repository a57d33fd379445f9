//! Rename, in whatever state the container is.

use crate::Engine;
use crate::gate::blocking;
use crate::records;
use gantry_core::container::is_container_name;
use gantry_core::{Error, ErrorKind, Labels, Result};

impl Engine {
    pub async fn rename(&self, name: &str, new: &str) -> Result<()> {
        let keeper = self.find(name)?;
        let new = new.strip_prefix('/').unwrap_or(new).to_owned();
        self.check_name(&new).map_err(not_allocated)?;
        let context = self.context.clone();
        crate::finish(async move {
            let worker = context.clone();
            let told = blocking(move || {
                let (_, told) = records::change(&worker, &keeper, |record| {
                    if record.name == new {
                        return Err(Error::invalid(
                            "Renaming a container with the same name as its current name",
                        ));
                    }
                    let old = std::mem::replace(&mut record.name, new);
                    let extra = Labels::from([("oldName".to_owned(), format!("/{old}"))]);
                    Ok(vec![worker.container_event(record, "rename", extra)])
                })
                .map_err(|error| match error.kind() {
                    // It has the name already, or is gone.
                    ErrorKind::InvalidArgument | ErrorKind::NotFound => error,
                    _ => not_allocated(error),
                })?;
                if let Err(error) = worker.networks.renamed(&keeper) {
                    tracing::warn!(container = %keeper.id(), err = %error, "the container keeps its old name in its networks until it is started again");
                }
                Ok(told)
            })
            .await?;
            context.bus.publish(told);
            Ok(())
        })
        .await
    }

    /// The rule for names, and P02: a name must not be mistaken for another container's id.
    pub(crate) fn check_name(&self, name: &str) -> Result<()> {
        if !is_container_name(name) {
            return Err(Error::invalid(format!(
                "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
            )));
        }
        if let Some(id) = self.context.registry.id_like(name) {
            return Err(Error::conflict(format!(
                "the name \"{name}\" would be mistaken for the id of container {id}; choose another name"
            )));
        }
        Ok(())
    }
}

fn not_allocated(error: Error) -> Error {
    error.context("error when allocating new name")
}
