//! An object store that fails as told, around another: what real stores do rarely, on demand and repeatably.

use std::fmt;
use std::future::pending;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::future::ready;
use futures_util::stream::{BoxStream, once};
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    UploadPart,
};

/// What goes wrong with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done, and an error is the answer.
    Fail,
    /// It is done, and an error is the answer.
    LoseAnswer,
    /// It is done twice; the second answer is given.
    Twice,
    /// No answer ever comes, and nothing is done.
    Hang,
    /// A read gives one bit wrong.
    Flip,
    /// A write that should create only what is absent replaces what is there.
    Overwrite,
}

type Plan = Arc<Mutex<dyn FnMut(&'static str, &str) -> Option<Fault> + Send>>;

/// A store that meets the faults of a plan.
pub struct FaultyObjects {
    inner: Arc<dyn ObjectStore>,
    plan: Plan,
}

impl FaultyObjects {
    /// Before each request `plan` is asked, by what is done ("put", "get", "delete", "list", "begin", "part",
    /// "complete") and the object's full name, what goes wrong with it.
    pub fn new(
        inner: Arc<dyn ObjectStore>,
        plan: impl FnMut(&'static str, &str) -> Option<Fault> + Send + 'static,
    ) -> FaultyObjects {
        FaultyObjects { inner, plan: Arc::new(Mutex::new(plan)) }
    }
}

fn fault(plan: &Plan, operation: &'static str, path: &Path) -> Option<Fault> {
    plan.lock().expect("a plan does not panic")(operation, path.as_ref())
}

fn failure(operation: &'static str) -> Error {
    Error::Generic { store: "faulty", source: format!("the fault asked for, in \"{operation}\"").into() }
}

/// Runs a request with its fault.
async fn meet<T, F: Future<Output = Result<T>>>(
    fault: Option<Fault>,
    operation: &'static str,
    request: impl Fn() -> F,
) -> Result<T> {
    match fault {
        None | Some(Fault::Flip | Fault::Overwrite) => request().await,
        Some(Fault::Fail) => Err(failure(operation)),
        Some(Fault::LoseAnswer) => {
            drop(request().await);
            Err(failure(operation))
        }
        Some(Fault::Twice) => {
            drop(request().await);
            request().await
        }
        Some(Fault::Hang) => pending().await,
    }
}

async fn flip(result: GetResult) -> Result<GetResult> {
    let (meta, range, attributes) = (result.meta.clone(), result.range.clone(), result.attributes.clone());
    let extensions = result.extensions.clone();
    let mut bytes = result.bytes().await?.to_vec();
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
    let payload = GetResultPayload::Stream(once(ready(Ok(bytes.into()))).boxed());
    Ok(GetResult { payload, meta, range, attributes, extensions })
}

impl fmt::Debug for FaultyObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty {:?}", self.inner)
    }
}

impl fmt::Display for FaultyObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FaultyObjects {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let fault = fault(&self.plan, "put", path);
        let mode = if fault == Some(Fault::Overwrite) { PutMode::Overwrite } else { options.mode.clone() };
        let options = PutOptions { mode, ..options };
        meet(fault, "put", || self.inner.put_opts(path, payload.clone(), options.clone())).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let fault = fault(&self.plan, "begin", path);
        let upload = meet(fault, "begin", || self.inner.put_multipart_opts(path, options.clone())).await?;
        Ok(Box::new(FaultyUpload { inner: upload, path: path.clone(), plan: self.plan.clone() }))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let fault = fault(&self.plan, "get", path);
        let result = meet(fault, "get", || self.inner.get_opts(path, options.clone())).await?;
        if fault == Some(Fault::Flip) { flip(result).await } else { Ok(result) }
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (inner, plan) = (self.inner.clone(), self.plan.clone());
        let delete = move |path: Path| {
            let (inner, plan) = (inner.clone(), plan.clone());
            async move {
                let fault = fault(&plan, "delete", &path);
                meet(fault, "delete", || inner.delete(&path)).await?;
                Ok(path)
            }
        };
        paths.and_then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match fault(&self.plan, "list", prefix.unwrap_or(&Path::default())) {
            Some(Fault::Fail | Fault::LoseAnswer) => once(ready(Err(failure("list")))).boxed(),
            Some(Fault::Hang) => once(pending()).boxed(),
            _ => self.inner.list(prefix),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let fault = fault(&self.plan, "list", prefix.unwrap_or(&Path::default()));
        meet(fault, "list", || self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let fault = fault(&self.plan, "copy", from);
        meet(fault, "copy", || self.inner.copy_opts(from, to, options.clone())).await
    }
}

struct FaultyUpload {
    inner: Box<dyn MultipartUpload>,
    path: Path,
    plan: Plan,
}

impl fmt::Debug for FaultyUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty {:?}", self.inner)
    }
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        match fault(&self.plan, "part", &self.path) {
            Some(Fault::Fail) => ready(Err(failure("part"))).boxed(),
            Some(Fault::Hang) => pending().boxed(),
            Some(Fault::LoseAnswer) => {
                self.inner.put_part(data).map(|part| part.and(Err(failure("part")))).boxed()
            }
            // A part that is sent again takes its own place.
            None | Some(Fault::Flip | Fault::Twice | Fault::Overwrite) => self.inner.put_part(data),
        }
    }

    async fn complete(&mut self) -> Result<PutResult> {
        match fault(&self.plan, "complete", &self.path) {
            Some(Fault::Fail) => Err(failure("complete")),
            Some(Fault::Hang) => pending().await,
            Some(Fault::LoseAnswer) => self.inner.complete().await.and(Err(failure("complete"))),
            Some(Fault::Twice) => {
                self.inner.complete().await?;
                self.inner.complete().await
            }
            None | Some(Fault::Flip | Fault::Overwrite) => self.inner.complete().await,
        }
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}
