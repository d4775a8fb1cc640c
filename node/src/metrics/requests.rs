//! What the door counts of requests: by route, method and class of status, none of which grows with what is asked.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use axum::http::{Method, StatusCode};

use super::text::{Kind, Page};

/// The upper bounds of the buckets, in seconds.
const BUCKETS_S: [f64; 8] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0];
/// How many routes there may be: far more than there are. What comes beyond is counted together.
const ROUTES_MAX: usize = 512;
/// The route of what has none.
const NO_ROUTE: &str = "none";

/// The requests of a door.
#[derive(Debug, Default)]
pub struct Requests {
    // A mutex: requests end on any thread, and whoever looks reads. Held for one step of plain code.
    routes: Mutex<BTreeMap<(String, &'static str), Counts>>,
}

#[derive(Clone, Debug, Default)]
struct Counts {
    /// By the first digit of the status, from 1 to 5.
    classes: [u64; 5],
    /// Those that took no longer than the bound at this place, and longer than the one before.
    buckets: [u64; BUCKETS_S.len()],
    seconds: f64,
}

impl Requests {
    /// A request was answered, after this long: a stream that goes on counts until it began.
    pub fn note(&self, route: Option<&str>, method: &Method, status: StatusCode, took: Duration) {
        // The same route, whether the project stands in the path or in the query.
        let route = route.unwrap_or(NO_ROUTE);
        let route = match route.strip_prefix("/v1/projects/{project}/") {
            Some(rest) if rest != "limits" => format!("/v1/{rest}"),
            _ => route.to_owned(),
        };
        let mut routes = self.routes.lock().expect("nothing panics under this lock");
        let key = (route, method_name(method));
        let full = routes.len() >= ROUTES_MAX && !routes.contains_key(&key);
        let key = if full { (NO_ROUTE.to_owned(), "other") } else { key };
        let counts = routes.entry(key).or_default();
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        counts.classes[class] += 1;
        let seconds = took.as_secs_f64();
        counts.seconds += seconds;
        let bucket = BUCKETS_S.partition_point(|bound| *bound < seconds);
        if let Some(bucket) = counts.buckets.get_mut(bucket) {
            *bucket += 1;
        }
    }

    /// Writes what was counted.
    pub fn write(&self, page: &mut Page) {
        let routes = self.routes.lock().expect("nothing panics under this lock").clone();
        page.family(
            "queenright_http_requests_total",
            Kind::Counter,
            "Requests that the door answered, by route, method and class of status.",
        );
        for ((route, method), counts) in &routes {
            for (class, count) in ["1xx", "2xx", "3xx", "4xx", "5xx"].iter().zip(counts.classes) {
                if count > 0 {
                    page.sample(&[("route", route), ("method", method), ("status", class)], count);
                }
            }
        }
        page.family(
            "queenright_http_request_seconds",
            Kind::Histogram,
            "Time from the arrival of a request to the head of its answer; routes that wait are as long as their callers wait.",
        );
        for ((route, method), counts) in &routes {
            let mut sum = 0;
            let within = counts.buckets.iter().map(|count| {
                sum += count;
                sum
            });
            let within: Vec<u64> = within.collect();
            let count = counts.classes.iter().sum();
            page.buckets(
                &[("route", route), ("method", method)],
                BUCKETS_S.into_iter().zip(within),
                count,
                counts.seconds,
            );
        }
    }
}

fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        // Whatever a caller made up.
        _ => "other",
    }
}
