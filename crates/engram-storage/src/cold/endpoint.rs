//! From an endpoint, as it stands in the settings, to a store. Nothing is asked of the store here.

use std::error::Error as _;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use rustls::crypto::CryptoProvider;

use super::ColdOptions;
use crate::error::{Error, Result};

/// A store, and what is put before the names of files in it.
pub(super) struct Place {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) prefix: Path,
    /// The folder of a local store.
    pub(super) folder: Option<PathBuf>,
}

/// Takes the endpoint apart. `variables` are the environment's.
pub(super) fn open(
    options: &ColdOptions,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<Place> {
    let wrong =
        |reason: String| Error::Setting { setting: options.setting, value: options.endpoint.clone(), reason };
    let Some((scheme, rest)) = options.endpoint.split_once("://") else {
        return Err(wrong("it must be s3://bucket/prefix or file:///folder".into()));
    };
    match scheme {
        "s3" => {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            if bucket.is_empty() {
                return Err(wrong("it names no bucket; write s3://bucket/prefix".into()));
            }
            let prefix = Path::parse(prefix).map_err(|e| wrong(e.to_string()))?;
            let variables: Vec<_> = variables.collect();
            let is_endpoint = |name: &str| name == "AWS_ENDPOINT" || name.starts_with("AWS_ENDPOINT_URL");
            let is_url = |value: &str| {
                value.is_empty() || value.starts_with("http://") || value.starts_with("https://")
            };
            if let Some((name, value)) =
                variables.iter().find(|(name, value)| is_endpoint(name) && !is_url(value))
            {
                return Err(wrong(format!("{name} is \"{value}\"; write http://host:port or https://host")));
            }
            let store = s3(bucket, options, variables.into_iter()).map_err(|e| wrong(with_causes(&e)))?;
            Ok(Place { store: Arc::new(store), prefix, folder: None })
        }
        "file" => {
            if !rest.starts_with('/') {
                return Err(wrong("the path of a folder begins with /; write file:///folder".into()));
            }
            let folder = PathBuf::from(rest);
            fs::create_dir_all(&folder).map_err(|e| Error::io("create", &folder, e))?;
            let store = LocalFileSystem::new_with_prefix(&folder).map_err(|e| wrong(e.to_string()))?;
            let store = Arc::new(store.with_fsync(true));
            Ok(Place { store, prefix: Path::default(), folder: Some(folder) })
        }
        other => {
            Err(wrong(format!("there is no \"{other}\" here; write s3://bucket/prefix or file:///folder")))
        }
    }
}

fn s3(
    bucket: &str,
    options: &ColdOptions,
    variables: impl Iterator<Item = (String, String)>,
) -> object_store::Result<impl ObjectStore> {
    if CryptoProvider::get_default().is_none() {
        // An error means that another thread was faster, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
    }
    let variables: Vec<(AmazonS3ConfigKey, String)> = variables
        // One that is empty is as good as none, and some of the others would be panicked at.
        .filter(|(name, value)| name.starts_with("AWS_") && !value.is_empty())
        .filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, value)))
        .filter(|(key, _)| *key != AmazonS3ConfigKey::Bucket)
        .collect();
    // Who writes http:// means it. AWS_ALLOW_HTTP=false, which comes after this, still refuses.
    let plain = variables.iter().any(|(key, value)| {
        matches!(key, AmazonS3ConfigKey::Endpoint | AmazonS3ConfigKey::S3Endpoint)
            && value.starts_with("http://")
    });
    let client = ClientOptions::new()
        .with_timeout(options.timeout)
        .with_connect_timeout(options.timeout)
        .with_allow_http(plain)
        // A small image may have none, and would be refused a client that needs none.
        .with_no_system_certificates(plain);
    let retry = RetryConfig { retry_timeout: options.patience, ..RetryConfig::default() };
    let builder =
        AmazonS3Builder::new().with_bucket_name(bucket).with_client_options(client).with_retry(retry);
    variables.into_iter().fold(builder, |builder, (key, value)| builder.with_config(key, value)).build()
}

/// An error with the causes that its own message leaves out.
pub(super) fn with_causes(error: &object_store::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !said.contains(&message) {
            said = format!("{said}: {message}");
        }
        cause = error.source();
    }
    // The address at which machines in Amazon's cloud ask for credentials, when they were given none.
    if said.contains("169.254.169.254") {
        said += " (no credentials were given: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)";
    }
    said
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn open_with(endpoint: &str, variables: &[(&str, &str)]) -> Result<Place> {
        let options = ColdOptions {
            endpoint: endpoint.into(),
            patience: Duration::from_millis(200),
            ..ColdOptions::default()
        };
        open(&options, variables.iter().map(|(name, value)| (name.to_string(), value.to_string())))
    }

    #[test]
    fn endpoints_that_make_no_sense_are_refused_with_what_to_write() {
        for (endpoint, variables, message) in [
            ("", &[][..], "is \"\": it must be s3://bucket/prefix or file:///folder"),
            ("bucket", &[], "it must be s3://bucket/prefix"),
            ("s3://", &[], "it names no bucket"),
            ("s3:///prefix", &[], "it names no bucket"),
            ("s3://bucket/a//b", &[], "empty path segment"),
            ("gs://bucket", &[], "there is no \"gs\" here"),
            ("file://folder", &[], "begins with /"),
            ("s3://bucket", &[("AWS_ALLOW_HTTP", "maybe")], "maybe"),
            ("s3://bucket", &[("AWS_ENDPOINT_URL", "localhost:9000")], "write http://host:port"),
        ] {
            let error = open_with(endpoint, variables).err().expect(endpoint).to_string();
            assert!(error.contains(message), "{endpoint}: {error}");
            assert!(error.starts_with("storage.cold_tier_endpoint is"), "{error}");
        }
    }

    #[test]
    fn a_bucket_and_its_prefix_are_taken_from_the_endpoint_and_all_else_from_the_environment() {
        let variables = [
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
            ("AWS_REGION", "eu-north-1"),
            ("AWS_ENDPOINT_URL_S3", ""),
            ("AWS_BUCKET", "another"),
            ("HOME", "/"),
        ];
        let place = open_with("s3://memories/of/ours/", &variables).expect("it is a good endpoint");
        assert_eq!(place.prefix.as_ref(), "of/ours");
        assert!(place.store.to_string().contains("memories"), "{}", place.store);
        assert!(place.folder.is_none());
    }
}
