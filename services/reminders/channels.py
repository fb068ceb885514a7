"""Ways to deliver a reminder: a webhook, a chat that takes Slack's webhooks, e-mail.

Addresses hold secrets, so that no message of an error shows more of one than its host.
"""

from collections.abc import Callable, Mapping
from email.message import EmailMessage
from email.utils import formatdate
from functools import partial
import smtplib
import ssl
from typing import Any
from urllib.parse import urlsplit

import httpx

from atlas.errors import ServiceError, SettingsError
from atlas.settings import RemindersSettings
from services.reminders.message import Message

TIMEOUT_S = 10.0

Deliver = Callable[[Message], None]


def channels_of(settings: RemindersSettings) -> dict[str, Deliver]:
    """Name → what delivers a message there, or raises `ServiceError`.

    Raises:
        SettingsError: half an e-mail account, or an address that is none.
    """
    found: dict[str, Deliver] = {}
    if settings.webhook:
        found["webhook"] = partial(_post, _address("webhook", settings.webhook), _as_event)
    if settings.slack:
        found["slack"] = partial(_post, _address("slack", settings.slack), _as_chat)
    if settings.email_to:
        if not (settings.smtp_host and settings.email_from):
            raise SettingsError(
                "reminders.email_to is set; give reminders.smtp_host and reminders.email_from too"
            )
        found["email"] = partial(_mail, settings)
    return found


def _as_event(message: Message) -> dict[str, Any]:
    return {
        "event": "images_waiting",
        "reminder": message.number,
        "project": message.project,
        "waiting": message.waiting,
        "link": message.link,
        "text": message.text,
    }


def _as_chat(message: Message) -> dict[str, Any]:
    return {"text": message.text}


def _address(key: str, url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(f"reminders.{key} is no address; it begins with https://")
    return url


def _post(url: str, content: Callable[[Message], Mapping[str, Any]], message: Message) -> None:
    """POST JSON; whatever is not answered with 2xx was not delivered."""
    host = urlsplit(url).hostname
    # A receiver that keeps to the key passes over what comes twice.
    headers = {"Idempotency-Key": f"atlas-reminder-{message.number}"}
    try:
        answer = httpx.post(url, json=content(message), headers=headers, timeout=TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ServiceError(f"no answer from {host} ({type(error).__name__})") from error
    if not answer.is_success:
        raise ServiceError(f"{host} answered {answer.status_code}")


def _mail(settings: RemindersSettings, message: Message) -> None:
    mail = EmailMessage()
    mail["Subject"] = message.subject
    mail["From"] = settings.email_from
    mail["To"] = ", ".join(settings.email_to)
    mail["Date"] = formatdate()
    # The same for a second delivery, so that mail programs show one.
    mail["Message-ID"] = f"<atlas-reminder-{message.number}@{settings.smtp_host}>"
    mail.set_content(f"{message.text}\n")
    try:
        with _connected(settings) as server:
            if settings.smtp_user:
                server.login(settings.smtp_user, settings.smtp_password)
            server.send_message(mail)
    except (smtplib.SMTPException, OSError) as error:
        code = getattr(error, "smtp_code", "")
        raise ServiceError(
            f"{settings.smtp_host} took no e-mail ({type(error).__name__} {code}".rstrip() + ")"
        ) from error


def _connected(settings: RemindersSettings) -> smtplib.SMTP:
    place = (settings.smtp_host, settings.smtp_port)
    if settings.smtp_security == "tls":
        return smtplib.SMTP_SSL(*place, timeout=TIMEOUT_S, context=ssl.create_default_context())
    server = smtplib.SMTP(*place, timeout=TIMEOUT_S)
    if settings.smtp_security == "starttls":
        try:
            server.starttls(context=ssl.create_default_context())
        except BaseException:
            server.close()
            raise
    return server
