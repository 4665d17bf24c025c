"""Serve a trained model over HTTP: POST an image, get what was found as JSON.

Run: python examples/http_service.py MODEL [PORT]
Ask: curl --data-binary @image.png http://127.0.0.1:8000/            (?box=left,top,right,bottom where it needs one)
"""

import sys
import tempfile
import threading
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import cogkp
from cogkp.errors import DataError, ModelError
from cogkp.inference.model import Model

MOST_BYTES = 16 << 20
MOST_REQUESTS = 64


async def body_of(request: Request) -> bytes:
    """Read the image, and no more than is allowed, whatever the header says."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise HTTPException(413, f"the image has more than {MOST_BYTES} bytes", {"Connection": "close"})
    return bytes(body)


def service(model: Model) -> Starlette:
    """Make the application; images are read side by side, and pass through the network one after the other."""
    turn = threading.Lock()

    def answer(body: bytes, box: str | None) -> dict:
        with tempfile.TemporaryDirectory() as folder:  # files are read with more care than arrays can be
            path = Path(folder, "image")
            path.write_bytes(body)
            try:
                look = {} if box is None else {"box": [float(number) for number in box.split(",")]}
                prepared = model.prepare(path, **look)
                with turn:
                    return model.answer([prepared])[0].to_dict()
            except ValueError as error:
                raise HTTPException(400, "box: four numbers, left,top,right,bottom") from error
            except (DataError, ModelError) as error:
                raise HTTPException(400, str(error).replace(str(path), "image")) from error

    async def find(request: Request) -> Response:
        try:
            body = await body_of(request)
        except ClientDisconnect:
            return Response(status_code=400)
        return JSONResponse(await run_in_threadpool(answer, body, request.query_params.get("box")))

    async def health(_: Request) -> Response:
        return JSONResponse({"model": model.path.name, "family": model.family, "names": list(model.names)})

    async def refused(_: Request, error: HTTPException) -> Response:
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    routes = [Route("/", find, methods=["POST"]), Route("/health", health)]
    return Starlette(routes=routes, exception_handlers={HTTPException: refused})


if __name__ == "__main__":
    with cogkp.load(sys.argv[1]) as opened:
        port = int(sys.argv[2]) if len(sys.argv) > 2 else 8000
        uvicorn.run(service(opened), host="127.0.0.1", port=port, limit_concurrency=MOST_REQUESTS)
