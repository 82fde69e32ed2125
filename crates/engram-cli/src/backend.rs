//! Who does the work: a server, asked over REST, or an engine in this process on a data folder. Both run the same
//! operations on the same wire types, so that commands need not know which it is.

use crate::args::Target;
use crate::commands::config::{load, refused};
use crate::fault::{Fault, Result, failed, usage};
use crate::remote::Remote;
use engram::{Engine, Options};
use engram_server::api::{
    ActivateIn, ActivateOut, BackupIn, BackupsOut, BytesQuery, CompleteIn, CompleteOut, ConsolidateIn,
    CountIn, CountOut, CueIn, DeleteIn, DeleteOut, GetQuery, JobOut, ListOut, ListQuery, MemoryOut,
    PositionOut, RecallOut, ReinforceIn, Sha256Out, SnapshotOut, SpaceOut, SpaceSettingsIn, SpacesOut,
    StartedOut, StoreIn, StoreOut, WithEmbedding,
};
use engram_server::{Problem, Service};
use std::path::Path;
use std::time::Duration;

/// Who does the work.
pub(crate) enum Backend {
    Remote(Remote),
    Local(Service),
}

/// Whether a folder that is not there yet may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Folder {
    MustExist,
    MayBeNew,
}

impl Backend {
    /// As the flags and the environment say.
    pub(crate) fn open(target: &Target, folder: Folder) -> Result<Self> {
        match &target.data_dir {
            Some(dir) => {
                found_folder(dir, folder)?;
                Self::open_engine(options_of(Some(dir), None)?)
            }
            None => Ok(Self::Remote(Remote::new(target.url.as_deref())?)),
        }
    }

    /// An engine in this process, with the settings that a server on this machine would have.
    pub(crate) fn open_engine(options: Options) -> Result<Self> {
        match Engine::open(options) {
            Ok(engine) => Ok(Self::Local(Service::new(engine))),
            Err(error) if error.kind() == engram::ErrorKind::Locked => {
                let text = error.to_string();
                // Of all commands that hold a folder, one answers at an address.
                let is_served = text.contains(" serve)") || text.contains("(engram-server");
                failed(match text.rsplit_once("; ") {
                    Some((held, _)) if !is_served => format!("{held}; wait until it is done, or stop it"),
                    _ => text,
                })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Runs `work`, then closes what was opened, also where the work failed; its fault is the one that counts.
    pub(crate) fn with<T>(self, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let outcome = work(&self);
        let closed = match &self {
            Self::Remote(_) => Ok(()),
            Self::Local(service) => service.engine().close().map_err(Fault::from),
        };
        let value = outcome?;
        closed.map(|()| value)
    }

    pub(crate) fn store(&self, space: &str, request: StoreIn) -> Result<StoreOut> {
        match self {
            Self::Remote(remote) => remote.post(&format!("spaces/{space}/memories"), &request),
            Self::Local(service) => Ok(service.store(space, request, None)?),
        }
    }

    pub(crate) fn get(&self, space: &str, id: &str) -> Result<MemoryOut> {
        match self {
            Self::Remote(remote) => remote.get(&format!("spaces/{space}/memories/{id}"), &[]),
            Self::Local(service) => Ok(service.get(space, id, &GetQuery::default())?),
        }
    }

    pub(crate) fn list(&self, space: &str, query: &ListQuery) -> Result<ListOut> {
        match self {
            Self::Remote(remote) => {
                let limit = query.limit.map(|limit| limit.to_string());
                let embedding = match query.with_embedding {
                    WithEmbedding::No => None,
                    WithEmbedding::Numbers => Some("true"),
                    WithEmbedding::Base64 => Some("base64"),
                };
                let given = [
                    ("cursor", query.cursor.as_deref()),
                    ("limit", limit.as_deref()),
                    ("with_embedding", embedding),
                ];
                let given: Vec<_> =
                    given.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
                remote.get(&format!("spaces/{space}/memories"), &given)
            }
            Self::Local(service) => Ok(service.list(space, query)?),
        }
    }

    pub(crate) fn count(&self, space: &str, request: CountIn) -> Result<CountOut> {
        match self {
            Self::Remote(remote) => remote.post(&format!("spaces/{space}/memories/count"), &request),
            Self::Local(service) => Ok(service.count(space, request)?),
        }
    }

    pub(crate) fn delete_matching(&self, space: &str, request: DeleteIn) -> Result<DeleteOut> {
        match self {
            Self::Remote(remote) => remote.post(&format!("spaces/{space}/memories/delete"), &request),
            Self::Local(service) => Ok(service.delete_matching(space, request)?),
        }
    }

    pub(crate) fn recall(&self, space: &str, cue: CueIn) -> Result<RecallOut> {
        match self {
            Self::Remote(remote) => remote.post(&format!("spaces/{space}/recall"), &cue),
            Self::Local(service) => Ok(service.recall(space, cue)?),
        }
    }

    pub(crate) fn activate(&self, space: &str, request: ActivateIn) -> Result<ActivateOut> {
        match self {
            Self::Remote(remote) => remote.post(&format!("spaces/{space}/activate"), &request),
            Self::Local(service) => Ok(service.activate(space, request)?),
        }
    }

    pub(crate) fn complete(&self, space: &str, request: CompleteIn) -> Result<CompleteOut> {
        match self {
            Self::Remote(remote) => remote.post(&format!("spaces/{space}/complete"), &request),
            Self::Local(service) => Ok(service.complete(space, request)?),
        }
    }

    pub(crate) fn reinforce(&self, space: &str, request: ReinforceIn) -> Result<PositionOut> {
        match self {
            Self::Remote(remote) => remote.post(&format!("spaces/{space}/reinforce"), &request),
            Self::Local(service) => Ok(service.reinforce(space, request)?),
        }
    }

    pub(crate) fn consolidate(&self, space: &str, request: ConsolidateIn) -> Result<StartedOut> {
        match self {
            Self::Remote(remote) => remote.post(&format!("spaces/{space}/consolidate"), &request),
            Self::Local(service) => Ok(service.consolidate(space, request)?),
        }
    }

    pub(crate) fn job(&self, id: &str) -> Result<JobOut> {
        match self {
            Self::Remote(remote) => remote.get(&format!("jobs/{id}"), &[]),
            Self::Local(service) => Ok(service.job(id)?),
        }
    }

    pub(crate) fn spaces(&self) -> Result<SpacesOut> {
        match self {
            Self::Remote(remote) => remote.get("spaces", &[]),
            Self::Local(service) => Ok(service.spaces()?),
        }
    }

    pub(crate) fn space(&self, space: &str) -> Result<SpaceOut> {
        match self {
            Self::Remote(remote) => remote.get(&format!("spaces/{space}"), &[]),
            Self::Local(service) => Ok(service.space_summary(space)?),
        }
    }

    pub(crate) fn put_space(&self, space: &str, settings: SpaceSettingsIn) -> Result<SpaceOut> {
        match self {
            Self::Remote(remote) => remote.put(&format!("spaces/{space}"), &settings),
            Self::Local(service) => Ok(service.put_space(space, settings)?.0),
        }
    }

    pub(crate) fn take_snapshot(&self, space: &str) -> Result<SnapshotOut> {
        match self {
            Self::Remote(remote) => remote.post(&format!("spaces/{space}/snapshots"), &()),
            Self::Local(service) => Ok(service.take_snapshot(space)?),
        }
    }

    pub(crate) fn snapshot_sha256(&self, space: &str, id: &str, query: &BytesQuery) -> Result<Sha256Out> {
        match self {
            Self::Remote(remote) => remote
                .get(&format!("spaces/{space}/snapshots/{id}/sha256"), &[("file", &query.file.to_string())]),
            Self::Local(service) => Ok(service.snapshot_sha256(space, id, query, Duration::MAX)?),
        }
    }

    pub(crate) fn snapshot_bytes(&self, space: &str, id: &str, query: &BytesQuery) -> Result<Vec<u8>> {
        match self {
            Self::Remote(remote) => {
                let bytes = query.bytes.map(|bytes| format!("&bytes={bytes}")).unwrap_or_default();
                let (file, offset) = (query.file, query.offset);
                remote.get_bytes(&format!(
                    "spaces/{space}/snapshots/{id}/bytes?file={file}&offset={offset}{bytes}"
                ))
            }
            Self::Local(service) => Ok(service.snapshot_bytes(space, id, query)?),
        }
    }

    pub(crate) fn delete_snapshot(&self, space: &str, id: &str) -> Result<SnapshotOut> {
        match self {
            Self::Remote(remote) => remote.delete(&format!("spaces/{space}/snapshots/{id}")),
            Self::Local(service) => Ok(service.delete_snapshot(space, id)?),
        }
    }

    pub(crate) fn note_backup(&self, space: &str, id: &str, backup: BackupIn) -> Result<BackupsOut> {
        match self {
            Self::Remote(remote) => remote.put(&format!("spaces/{space}/backups/{id}"), &backup),
            Self::Local(service) => Ok(service.note_backup(space, id, backup)?),
        }
    }

    pub(crate) fn forget_backup(&self, space: &str, id: &str) -> Result<BackupsOut> {
        match self {
            Self::Remote(remote) => remote.delete(&format!("spaces/{space}/backups/{id}")),
            Self::Local(service) => Ok(service.forget_backup(space, id)?),
        }
    }

    pub(crate) fn delete_space(&self, space: &str) -> Result<SpaceOut> {
        match self {
            Self::Remote(remote) => remote.delete(&format!("spaces/{space}")),
            Self::Local(service) => Ok(service.delete_space(space)?),
        }
    }
}

/// Refuses what is no folder of memories.
pub(crate) fn found_folder(dir: &Path, folder: Folder) -> Result<()> {
    if dir.exists() && !dir.is_dir() {
        return usage(format!("{}: is a file; the memories are in a folder", dir.display()));
    }
    match folder {
        Folder::MustExist if !dir.join("spaces").is_dir() => usage(format!(
            "{}: no memories are here; `engram store` and `engram import` make such a folder",
            dir.display()
        )),
        Folder::MustExist | Folder::MayBeNew => Ok(()),
    }
}

/// How to open a folder: as a configuration file, the environment and its defaults say.
pub(crate) fn options_of(dir: Option<&Path>, config: Option<&Path>) -> Result<Options> {
    let mut loaded = load(config)?;
    if let Some(dir) = dir {
        loaded.set("--data-dir", "storage.data_dir", &dir.display().to_string()).map_err(refused)?;
    }
    Ok(Options::from_config(&loaded.config().map_err(refused)?)?)
}

/// Whether the memory said that there is no such thing.
pub(crate) fn is_not_found<T>(outcome: &Result<T>) -> bool {
    matches!(outcome, Err(Fault::Refused(Problem::NotFound, _)))
}
