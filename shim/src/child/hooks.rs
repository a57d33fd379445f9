//! Hooks of the OCI spec that run in the host's namespaces: while the container is made, after the start, after the stop. (Those of the
//! container's namespaces are run by libcontainer at their points.) A hook's stderr is the child's stderr, from where it reaches the caller.

use crate::failure::{Failure, Kind, Result};
use libcontainer::{container::Container, hooks::run_hooks, oci_spec::runtime::Spec};

/// When.
#[derive(Clone, Copy, Debug)]
pub enum Stage {
    Prestart,
    CreateRuntime,
    Poststart,
    Poststop,
}

/// Runs the hooks of a stage. A failing poststop hook does not keep the rest from running.
pub fn run(spec: &Spec, stage: Stage, container: &Container) -> Result<()> {
    let Some(hooks) = spec.hooks() else { return Ok(()) };
    let (name, list) = match stage {
        Stage::Prestart => ("prestart", hooks.prestart()),
        Stage::CreateRuntime => ("createRuntime", hooks.create_runtime()),
        Stage::Poststart => ("poststart", hooks.poststart()),
        Stage::Poststop => ("poststop", hooks.poststop()),
    };
    let mut first = Ok(());
    for hook in list.iter().flatten() {
        let done = run_hooks(Some(&vec![hook.clone()]), Some(&container.state), None, None, None);
        let done =
            done.map_err(|err| Failure::new(Kind::Hook, format!("{name} hook {}: {err}", hook.path().display())));
        match stage {
            Stage::Prestart | Stage::CreateRuntime | Stage::Poststart => done?,
            Stage::Poststop => first = first.and(done),
        }
    }
    first
}
