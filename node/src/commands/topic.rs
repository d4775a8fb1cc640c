//! `queenright topic`: messages about topics, to all who follow them.

use std::path::Path;

use bytes::Bytes;
use futures::StreamExt as _;
use queenright_actors::topic::{Published, TOPIC_PAYLOAD_BYTES_MAX};
use queenright_bench::client::wire::{Code, WireMessage};
use queenright_bench::client::{Client, TopicNews};
use serde_json::json;

use super::door::{client_of_project, of_read};
use super::input::read;
use super::table::shown;
use super::{CliError, Context};
use crate::cli::TopicCommand;
use crate::exit::Exit;

/// Publishes a message, or follows topics.
///
/// # Errors
/// [`CliError`], such as a refusal by the node.
pub async fn run(command: TopicCommand, context: &Context) -> Result<Exit, CliError> {
    match command {
        TopicCommand::Publish {
            topic,
            payload,
            file,
            target,
        } => {
            let payload = match file {
                Some(file) => read(&file, TOPIC_PAYLOAD_BYTES_MAX).await?,
                None if payload == "-" => read(Path::new("-"), TOPIC_PAYLOAD_BYTES_MAX).await?,
                None => Bytes::from(payload),
            };
            let published = client_of_project(&target)?.publish(&topic, payload).await?;
            context.answer(&published, text(&topic, &published))?;
        }
        TopicCommand::Follow { pattern, limit, target } => {
            let client = client_of_project(&target)?;
            let limit = limit.unwrap_or(u64::MAX);
            tokio::select! {
                followed = follow(&client, pattern.as_str(), limit, context) => followed?,
                // If it cannot be caught it ends the process, which is what is wanted.
                Ok(()) = tokio::signal::ctrl_c() => {}
            }
        }
    }
    Ok(Exit::Ok)
}

async fn follow(client: &Client, pattern: &str, limit: u64, context: &Context) -> Result<(), CliError> {
    let mut news = client.follow_topics(pattern).await.map_err(of_read)?;
    context.note(format_args!("following {pattern}"));
    let mut left = limit;
    while left > 0 {
        match news.next().await {
            Some(Ok(TopicNews::Message(message))) => {
                context.answer(&message, line(&message))?;
                left -= 1;
            }
            Some(Ok(TopicNews::Dropped(messages))) => {
                let text = format!("… {messages} dropped: they came faster than they were read");
                context.answer(&json!({ "dropped": messages }), text)?;
            }
            Some(Err(error)) => return Err(of_read(error)),
            None => {
                return Err(CliError::Refused {
                    exit: Exit::Unavailable,
                    code: Code::Unavailable.to_string(),
                    message: "the node has closed its door; what is published meanwhile is not kept".to_owned(),
                });
            }
        }
    }
    Ok(())
}

fn text(topic: &str, published: &Published) -> String {
    let Published { nodes, lost, delivered } = published;
    let s = if *delivered == 1 { "" } else { "s" };
    let here = format!("{} is with {delivered} subscriber{s} of this node", shown(topic));
    match (*nodes, *lost) {
        (0, _) => here,
        (nodes, 0) => format!("{here}, and on its way to {nodes} nodes"),
        (nodes, lost) => format!("{here}, on its way to {} nodes, and lost for {lost}", nodes - lost),
    }
}

fn line(message: &WireMessage) -> String {
    let WireMessage {
        topic,
        author,
        payload,
        payload_base64,
        ..
    } = message;
    let said = match (payload, payload_base64) {
        (Some(text), _) => shown(text),
        (None, base64) => format!("base64:{}", base64.as_deref().unwrap_or_default()),
    };
    format!("{}  {}  {said}", shown(topic), shown(author))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_whatever_it_says() {
        let message = WireMessage {
            topic: "a.b".to_owned(),
            author: "ann".to_owned(),
            node: 1,
            from: None,
            payload: Some("two\nlines".to_owned()),
            payload_base64: None,
        };
        assert_eq!(line(&message), "a.b  ann  two\\nlines");
        let bytes = WireMessage {
            payload: None,
            payload_base64: Some("/wA=".to_owned()),
            ..message
        };
        assert_eq!(line(&bytes), "a.b  ann  base64:/wA=");
    }

    #[test]
    fn what_became_of_a_message_is_said() {
        let said = |nodes, lost, delivered| text("a", &Published { nodes, lost, delivered });
        assert_eq!(said(0, 0, 1), "a is with 1 subscriber of this node");
        assert_eq!(
            said(2, 0, 0),
            "a is with 0 subscribers of this node, and on its way to 2 nodes"
        );
        assert_eq!(
            said(4, 1, 0),
            "a is with 0 subscribers of this node, on its way to 3 nodes, and lost for 1"
        );
    }
}
