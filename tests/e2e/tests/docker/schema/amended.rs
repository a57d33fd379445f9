//! Where Docker's engine differs from what it publishes, and its clients know it so: a written list, each with why. What is not in it
//! is a fault.

/// In which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amend {
    /// It may be null.
    Null,
    /// It is there, though not published.
    Also,
}

use Amend::{Also, Null};

/// The engine has it from the configuration as it was asked for, where a list or table that nobody gave is nil, and Go writes that so.
const NOT_GIVEN: &str = "what nobody gave is null";
/// A list that is made by adding to it, and nothing was.
const NOTHING_ADDED: &str = "nothing was added to it";
/// A pointer to a number.
const NOT_SET: &str = "it is not set";
/// Measured where a container runs only.
const NOT_MEASURED: &str = "it does not run, so nothing is measured";
/// Events of the versions before kinds; left out from 1.52 on.
const OLD_EVENTS: &str = "events have their old fields, too";

/// Place, since which minor version, how, and why.
pub const AMENDED: &[(&str, u32, Amend, &str)] = &[
    ("EndpointSettings.IPAMConfig", 42, Null, NOT_GIVEN),
    ("EndpointSettings.Links", 42, Null, NOT_GIVEN),
    ("EndpointSettings.Aliases", 42, Null, NOT_GIVEN),
    ("EndpointSettings.DNSNames", 44, Null, NOTHING_ADDED),
    (
        "HostConfig.Annotations",
        42,
        Also,
        "what newer clients gave is shown to older ones",
    ),
    ("HostConfig.Binds", 42, Null, NOT_GIVEN),
    ("HostConfig.VolumesFrom", 42, Null, NOT_GIVEN),
    ("HostConfig.CapAdd", 42, Null, NOT_GIVEN),
    ("HostConfig.CapDrop", 42, Null, NOT_GIVEN),
    ("HostConfig.ExtraHosts", 42, Null, NOT_GIVEN),
    ("HostConfig.GroupAdd", 42, Null, NOT_GIVEN),
    ("HostConfig.Links", 42, Null, NOT_GIVEN),
    ("HostConfig.SecurityOpt", 42, Null, NOT_GIVEN),
    ("HostConfig.DeviceCgroupRules", 42, Null, NOT_GIVEN),
    ("HostConfig.DeviceRequests", 42, Null, NOT_GIVEN),
    ("HostConfig.MemorySwappiness", 42, Null, NOT_SET),
    ("ContainerConfig.Volumes", 42, Null, NOT_GIVEN),
    ("ContainerConfig.Entrypoint", 42, Null, NOT_GIVEN),
    ("ContainerConfig.Env", 42, Null, NOT_GIVEN),
    ("ContainerConfig.Cmd", 42, Null, NOT_GIVEN),
    ("ContainerConfig.Labels", 42, Null, NOT_GIVEN),
    ("ImageConfig.Volumes", 42, Null, NOT_GIVEN),
    ("ImageConfig.Entrypoint", 42, Null, NOT_GIVEN),
    ("ImageConfig.Env", 42, Null, NOT_GIVEN),
    ("ImageConfig.Cmd", 42, Null, NOT_GIVEN),
    ("ImageConfig.Labels", 42, Null, NOT_GIVEN),
    ("ImageSummary.Labels", 42, Null, NOT_GIVEN),
    ("GET_/exec/{name}/json.ExitCode", 42, Null, "it has not ended"),
    ("POST_/containers/{name}/update.Warnings", 42, Null, NOTHING_ADDED),
    ("ContainerUpdateResponse.Warnings", 42, Null, NOTHING_ADDED),
    ("POST_/containers/prune.ContainersDeleted", 42, Null, NOTHING_ADDED),
    ("POST_/images/prune.ImagesDeleted", 42, Null, NOTHING_ADDED),
    ("POST_/networks/prune.NetworksDeleted", 42, Null, NOTHING_ADDED),
    ("POST_/build/prune.CachesDeleted", 42, Null, NOTHING_ADDED),
    ("PluginsInfo.Authorization", 42, Null, NOTHING_ADDED),
    (
        "RegistryServiceConfig.AllowNondistributableArtifactsCIDRs",
        42,
        Null,
        NOTHING_ADDED,
    ),
    (
        "RegistryServiceConfig.AllowNondistributableArtifactsHostnames",
        42,
        Null,
        NOTHING_ADDED,
    ),
    ("RegistryServiceConfig.Mirrors", 42, Null, NOTHING_ADDED),
    ("SystemInfo.GenericResources", 42, Null, NOTHING_ADDED),
    ("SystemInfo.Warnings", 42, Null, NOTHING_ADDED),
    ("Volume.Labels", 42, Null, NOT_GIVEN),
    ("Volume.Options", 42, Null, NOT_GIVEN),
    ("VolumeListResponse.Warnings", 42, Null, NOTHING_ADDED),
    ("IPAM.Options", 42, Null, NOT_GIVEN),
    ("EventMessage.status", 42, Also, OLD_EVENTS),
    ("EventMessage.id", 42, Also, OLD_EVENTS),
    ("EventMessage.from", 42, Also, OLD_EVENTS),
    ("ContainerBlkioStats.io_service_bytes_recursive", 48, Null, NOT_MEASURED),
];
