//! Mounts kept on a client's behalf: not served, and told so in the way that makes a client mount by itself.

use crate::bed::Entry;
use gantry_proto_containerd::services::mounts::v1 as pb;
use tonic::Code;

pub fn entries() -> Vec<Entry> {
    let words = "mount them directly";
    macro_rules! unserved {
        ($($method:literal $call:ident $request:ident),*) => {
            vec![$(Entry::unserved(
                concat!("containerd.services.mounts.v1.Mounts/", $method),
                Code::Unimplemented,
                words,
                |bed| Box::pin(async move { bed.walk.mounts().$call(pb::$request::default()).await.map(drop) }),
            )),*]
        };
    }
    unserved!(
        "Activate" activate ActivateRequest,
        "Deactivate" deactivate DeactivateRequest,
        "Info" info InfoRequest,
        "Update" update UpdateRequest,
        "List" list ListRequest
    )
}
