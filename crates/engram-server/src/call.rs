//! A request, read in full under limits of bytes and of time. Nothing of it is understood yet; what it asks for is read
//! from it by `http.rs`.

use crate::api::{CueQuery, RecallIn, from_json, numbers_of, shortened};
use crate::error::{ApiError, Problem};
use crate::http::App;
use crate::workers::panicked;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request};
use axum::http::{HeaderMap, Method, Uri, header};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

type Result<T> = std::result::Result<T, ApiError>;

/// A body that is too large is read on up to here, and thrown away, so that its sender gets to see the answer.
const DISCARDED_BYTES_MAX: u64 = 256 << 20;
/// Bodies of `limits.body_mb_max` that there is room for at one time, whatever the number of connections.
const LARGE_BODIES_MAX: usize = 16;
/// So much of each body needs no such room, so that large bodies, even ones that never end, do not turn small ones away.
const SMALL_BODY_BYTES_MAX: usize = 64 << 10;

/// What bodies may take.
pub(crate) struct BodyLimits {
    bytes_max: usize,
    /// Bytes that bodies may take beyond their first `SMALL_BODY_BYTES_MAX`.
    room: Arc<Semaphore>,
    time_max: Duration,
}

impl BodyLimits {
    pub(crate) fn new(bytes_max: usize, time_max: Duration) -> Self {
        BodyLimits { bytes_max, room: Arc::new(Semaphore::new(bytes_max * LARGE_BODIES_MAX)), time_max }
    }
}

/// A request, read in full and not looked at yet.
pub(crate) struct Call {
    space: String,
    id: String,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
    /// Held until the request is done with.
    _room: Option<OwnedSemaphorePermit>,
}

impl Call {
    /// The space in the path, as given.
    pub(crate) fn space(&self) -> &str {
        &self.space
    }

    /// The memory id in the path, as given.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn query<T: DeserializeOwned>(&self) -> Result<T> {
        let query = Query::try_from_uri(&self.uri);
        query.map(|Query(value)| value).map_err(|rejection| {
            let text = rejection.body_text();
            ApiError::invalid(text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text))
        })
    }

    /// What `read` finds in this call: in place if the body is small, otherwise on another thread.
    pub(crate) async fn read<T: Send + 'static>(
        self,
        read: impl FnOnce(&Call) -> Result<T> + Send + 'static,
    ) -> Result<(Call, T)> {
        let is_small = self.body.len() <= SMALL_BODY_BYTES_MAX;
        let reading = move || read(&self).map(|found| (self, found));
        if is_small {
            return reading();
        }
        spawn_blocking(reading).await.unwrap_or_else(|unfinished| Err(panicked(&unfinished)))
    }

    /// What to recall by: JSON, or the numbers of one embedding as they are, with the rest in the query.
    pub(crate) fn cues(&self) -> Result<RecallIn> {
        if self.content_type().0.eq_ignore_ascii_case("application/octet-stream") {
            let embedding = numbers_of(&self.body);
            let embedding =
                embedding.map_err(|why| ApiError::invalid(format!("the body is an embedding: {why}")))?;
            let query: CueQuery = self.query()?;
            return Ok(RecallIn::One(Box::new(query.into_cue(embedding))));
        }
        if let Some(query) = self.uri.query().filter(|query| !query.is_empty()) {
            return Err(ApiError::invalid(format!(
                "the query {:?} is for a body of application/octet-stream; here it belongs into the JSON",
                shortened(query)
            )));
        }
        self.json::<RecallIn>()?.checked()
    }

    /// Only bodies that are said to be JSON: a page in a browser cannot send those to a server that did not ask.
    pub(crate) fn json_body(&self) -> Result<&[u8]> {
        let (media_type, parameters) = self.content_type();
        let charset = parameters.split(';').filter_map(|parameter| parameter.split_once('=')).find_map(
            |(name, value)| {
                name.trim().eq_ignore_ascii_case("charset").then_some(value.trim().trim_matches('"'))
            },
        );
        if let Some(charset) = charset.filter(|charset| !charset.eq_ignore_ascii_case("utf-8")) {
            let detail = format!("the body is of charset {charset:?}; send JSON as UTF-8");
            return Err(ApiError::new(Problem::MediaType, detail));
        }
        let is_json = media_type.eq_ignore_ascii_case("application/json")
            || (media_type.starts_with("application/") && media_type.ends_with("+json"));
        if is_json || self.body.is_empty() {
            return Ok(&self.body);
        }
        let found =
            if media_type.is_empty() { "has no Content-Type".into() } else { format!("is {media_type:?}") };
        Err(ApiError::new(
            Problem::MediaType,
            format!("the body {found}; send JSON with \"Content-Type: application/json\""),
        ))
    }

    /// The media type of the body, and its parameters.
    fn content_type(&self) -> (&str, &str) {
        let given = self.headers.get(header::CONTENT_TYPE).map_or(Ok(""), |value| value.to_str());
        let (media_type, parameters) =
            given.map_or(("unreadable", ""), |given| given.split_once(';').unwrap_or((given, "")));
        (media_type.trim(), parameters)
    }

    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        from_json(self.json_body()?)
    }

    pub(crate) fn idempotency_key(&self) -> Result<Option<String>> {
        let key = self.headers.get("idempotency-key").map(|value| value.to_str().map(str::to_owned));
        key.transpose().map_err(|_| ApiError::invalid("Idempotency-Key must be printable ASCII"))
    }
}

impl FromRequest<Arc<App>> for Call {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self> {
        let (mut parts, body) = request.into_parts();
        let params = RawPathParams::from_request_parts(&mut parts, app).await.map_err(|rejection| {
            ApiError::invalid(format!("the path {:?} cannot be read: {rejection}", parts.uri.path()))
        })?;
        let param = |name| params.iter().find(|(own, _)| *own == name).map(|(_, value)| value.to_owned());
        let (space, id) = (param("space").unwrap_or_default(), param("id").unwrap_or_default());
        let (body, room) = match parts.method {
            Method::GET | Method::HEAD => (Bytes::new(), None),
            _ => read_body(app, &parts.headers, body).await?,
        };
        Ok(Call { space, id, uri: parts.uri, headers: parts.headers, body, _room: room })
    }
}

async fn read_body(
    app: &App,
    headers: &HeaderMap,
    mut body: Body,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>)> {
    let limits = &app.body_limits;
    let most = limits.bytes_max as u64;
    let declared =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let too_large = || {
        let found = declared.map_or("more".to_owned(), |bytes| format!("{bytes} bytes"));
        ApiError::new(
            Problem::TooLarge,
            format!(
                "the body has {found}, at most {most} bytes are allowed (limits.body_mb_max); send it in parts"
            ),
        )
    };
    // Who waits for leave to send needs no answer to the body; anybody else has begun to send.
    let is_waiting = headers.contains_key(header::EXPECT);
    if declared.is_some_and(|bytes| bytes > most) && (is_waiting || declared > Some(DISCARDED_BYTES_MAX)) {
        return Err(too_large());
    }
    let reading = async {
        let (mut bytes, mut read, mut room, mut is_crowded) = (Vec::new(), 0, None, false);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| ApiError::invalid(format!("the body broke off: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            read += data.len() as u64;
            is_crowded = is_crowded || !make_room(limits, &mut room, bytes.len() + data.len());
            if bytes.is_empty() && declared == Some(read) && read <= most && !is_crowded {
                return Ok((data, room));
            }
            if declared.unwrap_or(read).max(read) <= most && !is_crowded {
                bytes.extend_from_slice(&data);
            } else {
                (bytes, room) = (Vec::new(), None);
            }
            if read > DISCARDED_BYTES_MAX {
                break;
            }
        }
        match (read > most, is_crowded) {
            (true, _) => Err(too_large()),
            (false, true) => Err(crowded(limits)),
            (false, false) => Ok((Bytes::from(bytes), room)),
        }
    };
    let late = |_| {
        let detail = format!(
            "the body did not arrive within {} s (limits.request_timeout_s); send it faster or in parts",
            limits.time_max.as_secs()
        );
        Err(ApiError::new(Problem::RequestTimeout, detail))
    };
    timeout(limits.time_max, reading).await.unwrap_or_else(late)
}

/// Makes `room` enough for a body of `bytes`, unless other bodies have it.
fn make_room(limits: &BodyLimits, room: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> bool {
    let held = room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
    let missing = bytes.saturating_sub(SMALL_BODY_BYTES_MAX).saturating_sub(held);
    let Ok(missing) = u32::try_from(missing) else { return false };
    let Ok(more) = limits.room.clone().try_acquire_many_owned(missing) else { return false };
    match room {
        Some(room) => room.merge(more),
        None => *room = Some(more),
    }
    true
}

fn crowded(limits: &BodyLimits) -> ApiError {
    let detail = format!(
        "there is room for {} bytes of bodies at one time, and others have it; ask again in a moment, or send less at once",
        limits.bytes_max * LARGE_BODIES_MAX
    );
    ApiError::new(Problem::Busy, detail)
}
