//! Top: the processes of a container as ps(1) on the host sees them.

use crate::Engine;
use gantry_core::Result;
use gantry_task::top::{self, ProcessTable};

impl Engine {
    pub async fn top(&self, name: &str, ps_args: &str) -> Result<ProcessTable> {
        let keeper = self.find(name)?;
        let shim = keeper.shim().await?;
        let pids = shim.pids().await?;
        let mut arguments: Vec<String> = ps_args.split_whitespace().map(str::to_owned).collect();
        if arguments.is_empty() {
            arguments.push("-ef".to_owned());
        }
        let table = top::list(arguments, pids).await?;
        self.tell_of(&keeper.record(), "top").await;
        Ok(table)
    }
}
