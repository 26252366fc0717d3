"""A node's answer to a message, and the errors that take its place, worded as Flower's simulation words them."""

import uuid

from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp

from fedmeta_flwr.protocol.flower_private import ClientAppException, ErrorCode, overwrite_metadata


def answer(app: ClientApp, message: Message, context: Context) -> Message:
    """Return an app's reply; an error if it raises. It may change the context's state."""
    try:
        reply = app(message=message, context=context)
    except Exception as error:
        wrapped = ClientAppException(str(error))
        return failure(message, wrapped, ErrorCode.CLIENT_APP_RAISED_EXCEPTION)
    overwrite_metadata(reply, message_id=str(uuid.uuid4()))
    return reply


def failure(message: Message, error: Exception, code: int = ErrorCode.UNKNOWN) -> Message:
    """Return the reply that reports an error."""
    reply = Message(Error(code=code, reason=f"{type(error)}:<'{error}'>"), reply_to=message)
    overwrite_metadata(reply, message_id=str(uuid.uuid4()))
    return reply
