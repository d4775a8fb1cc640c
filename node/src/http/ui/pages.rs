//! The page, its style and its script.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};

use crate::http::routes::{Routes, get};

const PAGE: &str = include_str!("page.html");
/// The script, in parts that share one scope: a file for each subject.
const SCRIPT: &str = concat!(
    "\"use strict\";\n(() => {\n",
    include_str!("dom.js"),
    include_str!("door.js"),
    include_str!("needs.js"),
    include_str!("nodes.js"),
    include_str!("work.js"),
    include_str!("figures.js"),
    include_str!("memory.js"),
    include_str!("events.js"),
    include_str!("page.js"),
    "})();\n",
);
const STYLE: &str = include_str!("page.css");
const ICON: &str = include_str!("icon.svg");

/// Nothing is loaded but the parts of the page, nothing is asked but this door, and no other page frames it.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'",
);
const REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");

/// The routes of the page.
pub(in crate::http) fn pages() -> Routes {
    Routes::new()
        .route("/ui", get(|| part("text/html; charset=utf-8", PAGE)))
        .route("/ui/", get(|| async { Redirect::permanent("/ui") }))
        .route("/ui/page.js", get(|| part("text/javascript; charset=utf-8", SCRIPT)))
        .route("/ui/page.css", get(|| part("text/css; charset=utf-8", STYLE)))
        .route("/ui/icon.svg", get(|| part("image/svg+xml", ICON)))
}

async fn part(kind: &'static str, text: &'static str) -> Response {
    let headers: [(HeaderName, HeaderValue); 3] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, REFERRER),
    ];
    (headers, text).into_response()
}
