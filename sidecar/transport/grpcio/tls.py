"""TLS on the port: the certificate is looked at for every handshake, so a new one needs no restart."""

import grpc

from sidecar.door.certificates import Certificates, Pair


def credentials_of(certificates: Certificates) -> grpc.ServerCredentials:
    """Credentials for one port; clients must show a certificate where client_ca is configured."""

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        # Called in a thread of grpc's core for every handshake.
        pair = certificates.news()
        return None if pair is None else _configuration(pair)

    pair = certificates.pair
    return grpc.dynamic_ssl_server_credentials(
        _configuration(pair),
        fetch,  # type: ignore[arg-type]  # None, which the stubs do not know, keeps what is served
        require_client_authentication=pair.client_ca is not None,
    )


def _configuration(pair: Pair) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(pair.key, pair.certificate)], pair.client_ca)
