//! Restart: stop and start as one, so that `--rm` does not take the container away in between (P14).

use super::stop::StopOptions;
use crate::Engine;
use gantry_core::lifecycle::{Event, Request};
use gantry_core::{ErrorKind, Result};

impl Engine {
    pub async fn restart(&self, name: &str, options: StopOptions) -> Result<()> {
        let keeper = self.find(name)?;
        // An operation that changes state finishes, whoever asked.
        let engine = self.clone();
        let work = async move {
            let hold = keeper.hold();
            let stopped = engine.stop_as(&keeper, options, false).await;
            let started = match stopped {
                Ok(_) => match keeper.ask(Event::Start, Request::Start).await {
                    Err(error) if error.kind() == ErrorKind::NotModified => Ok(()),
                    other => other,
                },
                Err(error) => Err(error),
            };
            drop(hold);
            started?;
            engine
                .context
                .tell(vec![engine.context.container_event(
                    &keeper.record(),
                    "restart",
                    Default::default(),
                )])
                .await;
            Ok(())
        };
        crate::finish(work).await
    }
}
