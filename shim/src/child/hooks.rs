//! Hooks of the OCI spec that run in the host's namespaces: while the container is made, after the start, after the stop. (Those of the
//! container's namespaces are run by libcontainer at their points.) A hook's stderr is the child's stderr, from where it reaches the caller.

use crate::failure::{Failure, Kind, Result};
use libcontainer::{
    container::Container,
    hooks::{HookError, run_hooks},
    oci_spec::runtime::{Hook, Spec},
};

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
        let done = done.map_err(|err| {
            Failure::new(
                Kind::Hook,
                format!("{name} hook {}: {}", hook.path().display(), words(&err, hook)),
            )
        });
        match stage {
            Stage::Prestart | Stage::CreateRuntime | Stage::Poststart => done?,
            Stage::Poststop => first = first.and(done),
        }
    }
    first
}

fn words(err: &HookError, hook: &Hook) -> String {
    match (err, hook.timeout()) {
        (HookError::Timeout, Some(seconds)) => format!("it was killed after its timeout of {seconds} s"),
        (HookError::CommandExecute(source), _) => format!("it could not be run: {source}"),
        _ => err.to_string(),
    }
}
