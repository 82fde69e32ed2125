//! Whether a store keeps the one promise that cold files are built on: of many who create the same object at once,
//! exactly one is told that it did, and the object holds that one's bytes.

use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;
use futures_util::future::join_all;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutOptions};

/// Races in a row. A store that looks first and writes then does not lose every race.
const RACES: usize = 4;
/// Who create at once.
const CONTENDERS: usize = 16;

/// What came of it.
pub(super) enum Verdict {
    /// One won every race.
    Safe,
    /// The promise was broken, and how.
    Unsafe(String),
    /// The store could not be asked.
    Failed(StoreError),
}

/// Runs the races, on objects that are deleted again.
pub(super) async fn probe(store: &dyn ObjectStore, prefix: &Path) -> Verdict {
    for _ in 0..RACES {
        // Two programs that probe at the same time must not meet.
        let name = format!("engram-probe-{:016x}", RandomState::new().hash_one(std::process::id()));
        let path = prefix.clone().join(name);
        let verdict = race(store, &path).await;
        let deleted = match store.delete(&path).await {
            Err(StoreError::NotFound { .. }) => Ok(()),
            other => other,
        };
        match (verdict, deleted) {
            (Verdict::Safe, Ok(())) => {}
            (Verdict::Safe, Err(error)) => return Verdict::Failed(error),
            (other, _) => return other,
        }
    }
    Verdict::Safe
}

async fn race(store: &dyn ObjectStore, path: &Path) -> Verdict {
    let bytes = |contender: usize| Bytes::from(format!("contender {contender:04}\n").repeat(64));
    let create = |contender: usize| {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        store.put_opts(path, bytes(contender).into(), options)
    };
    let mut winners = Vec::new();
    for (contender, answer) in join_all((0..CONTENDERS).map(create)).await.into_iter().enumerate() {
        match answer {
            Ok(_) => winners.push(contender),
            Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {}
            Err(error @ (StoreError::NotImplemented { .. } | StoreError::NotSupported { .. })) => {
                return Verdict::Unsafe(format!("it cannot create only what is absent ({error})"));
            }
            Err(error) => return Verdict::Failed(error),
        }
    }
    let held = match store.get(path).await {
        Ok(object) => object.bytes().await,
        Err(error) => Err(error),
    };
    let held = match held {
        Ok(held) => held,
        Err(StoreError::NotFound { .. }) => {
            return Verdict::Unsafe("an object that was created is not there".into());
        }
        Err(error) => return Verdict::Failed(error),
    };
    match winners[..] {
        [winner] if held == bytes(winner) => Verdict::Safe,
        [winner] => Verdict::Unsafe(format!("{winner} created an object, which holds what another sent")),
        // The answer to the winner was lost and the request repeated, so it lost to itself.
        [] if (0..CONTENDERS).any(|contender| held == bytes(contender)) => Verdict::Safe,
        [] => Verdict::Unsafe("an object holds what nobody sent".into()),
        _ => Verdict::Unsafe(format!(
            "{} of {CONTENDERS} were told that they had created the same object",
            winners.len()
        )),
    }
}
