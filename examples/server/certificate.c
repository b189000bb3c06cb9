/* The certificate of HTTPS: browsers give the microphone to secure pages only. */
#include "certificate.h"

#include <glib/gstdio.h>

#include "log.h"

#ifdef HAVE_GNUTLS
#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <string.h>

#define DAYS 3650

static gboolean
add_names (gnutls_x509_crt_t crt, const gchar * host)
{
  static const guint8 loopback4[] = { 127, 0, 0, 1 };
  static const guint8 loopback6[16] = {[15] = 1 };
  const gchar *names[] = { "localhost", g_get_host_name () };
  GInetAddress *address = g_inet_address_new_from_string (host);
  guint i;
  int r = 0;

  for (i = 0; i < G_N_ELEMENTS (names); i++)
    r |= gnutls_x509_crt_set_subject_alt_name (crt, GNUTLS_SAN_DNSNAME,
        names[i], strlen (names[i]), GNUTLS_FSAN_APPEND);
  r |= gnutls_x509_crt_set_subject_alt_name (crt, GNUTLS_SAN_IPADDRESS,
      loopback4, sizeof loopback4, GNUTLS_FSAN_APPEND);
  r |= gnutls_x509_crt_set_subject_alt_name (crt, GNUTLS_SAN_IPADDRESS,
      loopback6, sizeof loopback6, GNUTLS_FSAN_APPEND);
  if (address && !g_inet_address_get_is_any (address))
    r |= gnutls_x509_crt_set_subject_alt_name (crt, GNUTLS_SAN_IPADDRESS,
        g_inet_address_to_bytes (address),
        g_inet_address_get_native_size (address), GNUTLS_FSAN_APPEND);
  g_clear_object (&address);
  return r == 0;
}

static gboolean
fill_in (gnutls_x509_crt_t crt, gnutls_x509_privkey_t key,
    const gchar * host)
{
  guint8 serial[16];
  time_t now = time (NULL);

  gnutls_rnd (GNUTLS_RND_NONCE, serial, sizeof serial);
  serial[0] &= 0x7f;            /* positive */
  return gnutls_x509_crt_set_version (crt, 3) == 0
      && gnutls_x509_crt_set_serial (crt, serial, sizeof serial) == 0
      && gnutls_x509_crt_set_activation_time (crt, now - 3600) == 0
      && gnutls_x509_crt_set_expiration_time (crt,
      now + DAYS * 24 * 3600L) == 0
      && gnutls_x509_crt_set_dn_by_oid (crt, GNUTLS_OID_X520_COMMON_NAME, 0,
      "moshi-server", strlen ("moshi-server")) == 0
      && add_names (crt, host)
      && gnutls_x509_crt_set_key (crt, key) == 0
      && gnutls_x509_crt_sign2 (crt, crt, key, GNUTLS_DIG_SHA256, 0) == 0;
}

static gboolean
save (const gchar * name, const gnutls_datum_t * pem, GError ** error)
{
  return g_file_set_contents_full (name, (const gchar *) pem->data, pem->size,
      G_FILE_SET_CONTENTS_CONSISTENT, 0600, error);
}

static gboolean
make (const gchar * cert, const gchar * key, const gchar * host,
    GError ** error)
{
  gnutls_x509_privkey_t private = NULL;
  gnutls_x509_crt_t crt = NULL;
  gnutls_datum_t cert_pem = { NULL }, key_pem = { NULL };
  gboolean made;

  made = gnutls_x509_privkey_init (&private) == 0
      && gnutls_x509_privkey_generate (private, GNUTLS_PK_ECDSA,
      GNUTLS_CURVE_TO_BITS (GNUTLS_ECC_CURVE_SECP256R1), 0) == 0
      && gnutls_x509_crt_init (&crt) == 0 && fill_in (crt, private, host)
      && gnutls_x509_crt_export2 (crt, GNUTLS_X509_FMT_PEM, &cert_pem) == 0
      && gnutls_x509_privkey_export2 (private, GNUTLS_X509_FMT_PEM,
      &key_pem) == 0;
  if (!made)
    g_set_error_literal (error, G_TLS_ERROR, G_TLS_ERROR_MISC,
        "A certificate could not be made");
  else
    made = save (key, &key_pem, error) && save (cert, &cert_pem, error);
  gnutls_free (cert_pem.data);
  gnutls_free (key_pem.data);
  gnutls_x509_crt_deinit (crt);
  gnutls_x509_privkey_deinit (private);
  return made;
}

#else

static gboolean
make (const gchar * cert, const gchar * key, const gchar * host,
    GError ** error)
{
  g_set_error_literal (error, G_TLS_ERROR, G_TLS_ERROR_MISC,
      "Built without GnuTLS, which makes certificates: "
      "give one with --tls-cert and --tls-key");
  return FALSE;
}

#endif

GTlsCertificate *
certificate_load (const gchar * cert, const gchar * key, const gchar * host,
    GError ** error)
{
  GTlsCertificate *certificate = NULL;
  gchar *directory, *own_cert, *own_key;

  if (cert)
    return g_tls_certificate_new_from_files (cert, key, error);

  directory = g_build_filename (g_get_user_data_dir (), "gst-moshi", NULL);
  own_cert = g_build_filename (directory, "server-cert.pem", NULL);
  own_key = g_build_filename (directory, "server-key.pem", NULL);
  g_mkdir_with_parents (directory, 0700);
  if ((g_file_test (own_cert, G_FILE_TEST_EXISTS)
          && g_file_test (own_key, G_FILE_TEST_EXISTS))
      || make (own_cert, own_key, host, error)) {
    log_event ("info", 0, "certificate", "file", own_cert, NULL);
    certificate = g_tls_certificate_new_from_files (own_cert, own_key, error);
  }
  g_free (directory);
  g_free (own_cert);
  g_free (own_key);
  return certificate;
}
