#!/usr/bin/env python3
"""The HTTP API as a generic client (curl) sees it: RESTCONF by RFC 8040, roles, bounds, events.
http_test.py BUILD"""
import json
import pathlib
import socket
import ssl
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
for folder in (HERE, HERE.parent / 'golden'):
    sys.path.insert(0, str(folder))
import tap  # noqa: E402
from sluiced_alone import Sluiced, free_port  # noqa: E402

BUILD = None
DATA = '/restconf/data/sluice:sluice'


class Http(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.s = Sluiced(BUILD, {'sluice:sluice': {
            'wire': [{'name': 'w1', 'mode': 'enforce'}, {'name': 'w2'}],
            'inside': {'prefix': [{'prefix': '203.0.113.0/24', 'role': 'shared-web'}]},
            'mail': {'port': [25, 587]}}})
        cls.s.wait(lambda: cls.listening(cls.s.port), 'the API does not listen')

    @classmethod
    def tearDownClass(cls):
        cls.s.close()

    @staticmethod
    def listening(port):
        with socket.socket() as probe:
            return probe.connect_ex(('127.0.0.1', port)) == 0

    def error(self, answer, status, tag):
        self.assertEqual(answer[0], status, answer)
        self.assertIn('application/yang-data+json', answer[1]['content-type'])
        errors = answer[2]['ietf-restconf:errors']['error']
        self.assertEqual(errors[0]['error-tag'], tag, errors)
        self.assertIn(errors[0]['error-type'], ('transport', 'rpc', 'protocol', 'application'))

    # RFC 8040 3.1: root resource discovery, without a token.
    def test_discovery(self):
        status, headers, body = self.s.curl('GET', '/.well-known/host-meta', token=None,
                                            headers=['Accept: application/xrd+xml'])
        self.assertEqual(status, 200)
        self.assertIn('xrd+xml', headers['content-type'])
        self.assertIn("rel='restconf' href='/restconf'", body)

    # 3.3: the API resource and its children.
    def test_api_resource(self):
        status, _, body = self.s.curl('GET', '/restconf')
        self.assertEqual(status, 200)
        root = body['ietf-restconf:restconf']
        self.assertEqual(set(root), {'data', 'operations', 'yang-library-version'})
        self.assertEqual(self.s.curl('GET', '/restconf/yang-library-version')[2],
                         {'ietf-restconf:yang-library-version': '2019-01-04'})
        operations = self.s.curl('GET', '/restconf/operations')[2]['ietf-restconf:operations']
        self.assertIn('sluice-operations:host-order', operations)

    def test_reading_resources(self):
        self.assertEqual(self.s.curl('GET', f'{DATA}/wire=w1/mode')[2], {'sluice:mode': 'enforce'})
        self.assertEqual(self.s.curl('GET', f'{DATA}/inside/prefix=203.0.113.0%2F24')[2],
                         {'sluice:prefix': [{'prefix': '203.0.113.0/24', 'role': 'shared-web'}]})
        self.assertEqual(self.s.curl('GET', f'{DATA}/mail/port=587')[2], {'sluice:port': [587]})
        self.error(self.s.curl('GET', f'{DATA}/wire=nowhere'), 404, 'invalid-value')
        self.error(self.s.curl('GET', f'{DATA}/nothing'), 404, 'invalid-value')
        self.error(self.s.curl('GET', '/restconf/data/other:thing'), 404, 'invalid-value')
        self.error(self.s.curl('GET', '/elsewhere'), 404, 'invalid-value')

    # 4.2 HEAD: the headers of GET without a body; 4.1 OPTIONS.
    def test_head_and_options(self):
        status, head, body = self.s.curl('HEAD', f'{DATA}/wire=w1')
        self.assertEqual((status, body), (200, ''))
        get = self.s.curl('GET', f'{DATA}/wire=w1')[1]
        for name in ('etag', 'last-modified', 'content-type', 'content-length'):
            self.assertEqual(head[name], get[name], name)
        status, headers, _ = self.s.curl('OPTIONS', f'{DATA}/wire=w1')
        self.assertEqual(status, 204)
        self.assertEqual({m.strip() for m in headers['allow'].split(',')},
                         {'GET', 'HEAD', 'OPTIONS', 'POST', 'PUT', 'PATCH', 'DELETE'})
        self.assertIn('application/yang-data+json', headers['accept-patch'])
        self.assertEqual(self.s.curl('OPTIONS', '/restconf/operations/sluice-operations:self-test')[1]['allow'],
                         'POST, OPTIONS')

    # 4.4 POST, 4.5 PUT, 4.6 PATCH, 4.7 DELETE, in the life of one list entry.
    def test_creating_changing_and_removing(self):
        entry = {'sluice:host': [{'prefix': '198.51.100.9/32', 'action': 'block'}]}
        where = f'{DATA}/host=198.51.100.9%2F32'
        status, headers, _ = self.s.curl('POST', DATA, entry)
        self.assertEqual(status, 201)
        self.assertTrue(headers['location'].endswith('/sluice:sluice/host=198.51.100.9%2F32'), headers)
        self.error(self.s.curl('POST', DATA, entry), 409, 'data-exists')
        self.assertEqual(self.s.curl('GET', where)[2]['sluice:host'][0]['action'], 'block')
        self.assertEqual(self.s.curl('PATCH', where, {'sluice:host': [
            {'prefix': '198.51.100.9/32', 'comment': 'CHG-1'}]})[0], 204)
        self.assertEqual(self.s.curl('GET', where)[2]['sluice:host'][0],
                         {'prefix': '198.51.100.9/32', 'action': 'block', 'comment': 'CHG-1'})
        self.assertEqual(self.s.curl('PUT', where, {'sluice:host': [
            {'prefix': '198.51.100.9/32', 'action': 'limit'}]})[0], 204)
        self.assertEqual(self.s.curl('GET', where)[2]['sluice:host'][0],
                         {'prefix': '198.51.100.9/32', 'action': 'limit'})
        self.assertEqual(self.s.curl('PUT', f'{where}/rate', {'sluice:rate': 7})[0], 201)
        self.assertEqual(self.s.show('config', 'show')['sluice:sluice']['host'][0]['rate'], 7)
        self.assertEqual(self.s.curl('DELETE', where)[0], 204)
        self.error(self.s.curl('DELETE', where), 404, 'invalid-value')
        self.error(self.s.curl('PATCH', where, entry), 404, 'invalid-value')
        # It is written down and in the audit log.
        self.assertNotIn('host', json.loads((self.s.folder / 'sluice.json').read_text())['sluice:sluice'])
        audit = self.s.show('show', 'audit')['audit']
        mine = [a for a in audit if 'RESTCONF DELETE' in a['comment']]
        self.assertEqual(mine[0]['who'], 'admin')
        self.assertIn('https 127.0.0.1', mine[0]['from'])

    def test_what_the_model_refuses_is_refused_whole(self):
        before = self.s.curl('GET', DATA)[2]
        for body in ({'sluice:detection': {'limit-threshold': 1}},
                     {'sluice:detection': {'limit-threshold': 50, 'block-threshold': 10}},
                     {'sluice:detection': {'windoww': 7}}):
            answer = self.s.curl('PUT', f'{DATA}/detection', body)
            self.assertEqual(answer[0], 400, answer)
            self.assertTrue(answer[2]['ietf-restconf:errors']['error'][0]['error-message'])
        self.assertEqual(self.s.curl('GET', DATA)[2], before)
        self.error(self.s.curl('PUT', f'{DATA}/detection', '{"sluice:detection":'), 400, 'malformed-message')
        for twice in ('{"sluice:detection": {"window": 7, "limit-threshold": 5, "window": 8}}',
                      '{"sluice:detection": {"window": 7}, "sluice:detection": {}}'):
            answer = self.s.curl('PUT', f'{DATA}/detection', twice)
            self.error(answer, 400, 'malformed-message')
            self.assertIn('stands twice', str(answer[2]))
        self.error(self.s.curl('PUT', f'{DATA}/detection', '{"sluice:detection": {"window": 1e999}}'), 400,
                   'malformed-message')
        self.error(self.s.curl('POST', '/restconf/operations/sluice-operations:self-test',
                               '{"sluice-operations:input": {"wire": "a", "wire": "b"}}'), 400, 'malformed-message')
        self.error(self.s.curl('PUT', f'{DATA}/detection', 'x', headers=['Content-Type: text/plain']), 415,
                   'malformed-message')
        self.error(self.s.curl('PUT', f'{DATA}/wire=w9', {'sluice:wire': [{'name': 'w8'}]}), 400,
                   'invalid-value')
        self.error(self.s.curl('POST', f'{DATA}/wire=w1/mode', {'sluice:x': 1}), 405,
                   'operation-not-supported')

    # 3.4.1, 3.5.1: conditions; 4.3: not modified.
    def test_conditions(self):
        status, headers, _ = self.s.curl('GET', f'{DATA}/wire=w2')
        tag = headers['etag']
        self.assertEqual(self.s.curl('GET', f'{DATA}/wire=w2', headers=[f'If-None-Match: {tag}'])[0], 304)
        self.assertEqual(self.s.curl('GET', f'{DATA}/wire=w2', headers=[
            f'If-Modified-Since: {headers["last-modified"]}'])[0], 304)
        change = {'sluice:description': 'one'}
        where = f'{DATA}/wire=w2/description'
        answer = self.s.curl('PUT', where, change, headers=[f'If-Match: {tag}'])
        self.assertIn(answer[0], (201, 204))
        self.assertNotEqual(answer[1]['etag'], tag)
        self.error(self.s.curl('PUT', where, {'sluice:description': 'two'}, headers=[f'If-Match: {tag}']), 412,
                   'operation-failed')
        self.assertEqual(self.s.curl('GET', where)[2], change)
        self.error(self.s.curl('PUT', where, change, headers=[
            'If-Unmodified-Since: Thu, 01 Jan 1970 00:00:01 GMT']), 412, 'operation-failed')

    # 4.8: query parameters.
    def test_query_parameters(self):
        one = self.s.curl('GET', f'{DATA}?depth=1')[2]
        self.assertEqual(one, {'sluice:sluice': {}})
        two = self.s.curl('GET', f'{DATA}?fields=wire(name);mail')[2]['sluice:sluice']
        self.assertEqual(two['wire'], [{'name': 'w1'}, {'name': 'w2'}])
        self.assertEqual(set(two), {'wire', 'mail'})
        all_values = self.s.curl('GET', f'{DATA}/detection?with-defaults=report-all')[2]
        self.assertEqual(all_values['sluice:detection']['limit-threshold'], 3)
        self.error(self.s.curl('GET', f'{DATA}/detection/limit-threshold?with-defaults=explicit'), 404,
                   'invalid-value')
        everything = self.s.curl('GET', '/restconf/data')[2]['ietf-restconf:data']
        self.assertIn('sluice-operations:state', everything)
        only = self.s.curl('GET', '/restconf/data?content=config')[2]['ietf-restconf:data']
        self.assertEqual(set(only), {'sluice:sluice'})
        state = self.s.curl('GET', '/restconf/data?content=nonconfig')[2]['ietf-restconf:data']
        self.assertNotIn('sluice:sluice', state)
        for bad in ('depth=0', 'depth=x', 'fields=a(b', 'content=some', 'with-defaults=trim', 'insert=first',
                    'unknown=1', 'depth=1&depth=2'):
            self.error(self.s.curl('GET', f'{DATA}?{bad}'), 400, 'invalid-value')

    # RFC 8525, RFC 8040 9: what the server says of itself.
    def test_library_and_capabilities(self):
        library = self.s.curl('GET', '/restconf/data/ietf-yang-library:yang-library')[2]
        modules = library['ietf-yang-library:yang-library']['module-set'][0]['module']
        self.assertEqual({m['name'] for m in modules}, {'sluice', 'sluice-operations'})
        for m in modules:
            status, headers, text = self.s.curl('GET', m['location'][0])
            self.assertEqual(status, 200)
            self.assertIn(f'module {m["name"]} {{', text)
            self.assertIn(f'revision {m["revision"]}', text)
        state = self.s.curl('GET', '/restconf/data/ietf-restconf-monitoring:restconf-state')[2]
        capabilities = state['ietf-restconf-monitoring:restconf-state']['capabilities']['capability']
        self.assertIn('urn:ietf:params:restconf:capability:defaults:1.0?basic-mode=explicit', capabilities)

    # 4.4.2: operations; the same roles as on the socket.
    def test_operations(self):
        where = '/restconf/operations/sluice-operations:'
        order = {'sluice-operations:input': {'prefix': '203.0.113.77', 'action': 'limit', 'rate': '20',
                                             'seconds': 7200, 'ticket': 'AB-99'}}
        status, _, body = self.s.curl('POST', where + 'host-order', order, token='operator')
        self.assertEqual(status, 200, body)
        self.assertEqual(body['sluice-operations:output']['result']['rate'], 20)
        hosts = self.s.curl('GET', '/restconf/data/sluice-operations:state/hosts', token='viewer')[2]
        orders = {o['prefix']: o for o in hosts['sluice-operations:hosts']['orders']}
        self.assertEqual(orders['203.0.113.77']['ticket'], 'AB-99')
        self.error(self.s.curl('POST', where + 'host-order', order, token='viewer'), 403, 'access-denied')
        self.error(self.s.curl('POST', where + 'host-order', {'sluice-operations:input': {'action': 'block'}}), 400,
                   'missing-element')
        self.error(self.s.curl('POST', where + 'host-order', {'sluice-operations:input': {
            'prefix': '1.2.3.4.5', 'action': 'block'}}), 400, 'invalid-value')
        self.error(self.s.curl('POST', where + 'host-order', {'sluice-operations:input': {
            'prefix': '1.2.3.4', 'action': 'block', 'colour': 'red'}}), 400, 'unknown-element')
        self.error(self.s.curl('POST', where + 'nothing'), 404, 'invalid-value')
        self.error(self.s.curl('GET', where + 'self-test'), 405, 'operation-not-supported')
        audit = self.s.show('show', 'audit')['audit']
        self.assertTrue(any(a['who'] == 'operator' and a['role'] == 'operator' and 'host limit' in a['what']
                            for a in audit), audit)
        self.assertTrue(any(a['who'] == 'viewer' and a['what'].startswith('refused') for a in audit), audit)

    def test_nobody_without_a_token(self):
        for token in (None, 'wrong', 'expired', ''):
            answer = self.s.curl('GET', DATA, token=token)
            self.error(answer, 401, 'access-denied')
            self.assertIn('Bearer', answer[1]['www-authenticate'])
        self.error(self.s.curl('PUT', f'{DATA}/detection', {'sluice:detection': {}}, token='operator'), 403,
                   'access-denied')
        self.assertEqual(self.s.curl('GET', DATA, token='viewer')[0], 200)
        text = (self.s.folder / 'sluice.json').read_text() + (self.s.folder / 'eve.json').read_text()
        self.assertNotIn('token-of-an-admin', text)

    # Who is not known is answered before what they send is read.
    def test_bodies_of_strangers_are_not_read(self):
        context = ssl.create_default_context(cafile=str(self.s.folder / 'cert.pem'))
        with context.wrap_socket(socket.create_connection(('127.0.0.1', self.s.port), 60),
                                 server_hostname='localhost') as s:
            s.sendall(b'PUT /restconf/data HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000\r\n'
                      b'Authorization: Bearer wrong\r\n\r\n')
            self.assertIn(b' 401 ', s.recv(4096))
        # Nor are those whose size is not known.
        self.error(self.s.curl('PUT', f'{DATA}/detection', '{}', headers=['Transfer-Encoding: chunked']), 411,
                   'malformed-message')
        self.error(self.s.curl('PUT', f'{DATA}/detection', '{}', headers=['Content-Encoding: gzip']), 415,
                   'malformed-message')
        # Nor are those that are too large.
        for size in (b'16777217', b'99999999999999999999999'):
            with context.wrap_socket(socket.create_connection(('127.0.0.1', self.s.port), 60),
                                     server_hostname='localhost') as s:
                s.sendall(b'PUT /restconf/data HTTP/1.1\r\nHost: localhost\r\nContent-Length: ' + size
                          + b'\r\nAuthorization: Bearer token-of-an-admin\r\n\r\n')
                answer = b''
                while b'too-big' not in answer:  # our words: the library's own answer comes late
                    piece = s.recv(4096)
                    self.assertTrue(piece, answer)
                    answer += piece
                self.assertIn(b' 413 ', answer)
        self.error(self.s.curl('GET', '/' + 'x' * 3000), 414, 'too-big')

    def test_media_types(self):
        self.assertEqual(self.s.curl('GET', DATA, headers=['Accept: application/yang-data+json'])[0], 200)
        self.error(self.s.curl('GET', DATA, headers=['Accept: application/yang-data+xml']), 406, 'invalid-value')

    # 6.3: notifications as server-sent events.
    def test_events_as_they_come(self):
        listener = subprocess.Popen(
            ['curl', '-sN', '--max-time', '60', '--cacert', str(self.s.folder / 'cert.pem'), '-H',
             'Authorization: Bearer token-of-a-viewer', '-H', 'Accept: text/event-stream',
             f'https://localhost:{self.s.port}/streams/events?type=audit'], stdout=subprocess.PIPE, text=True)
        try:
            self.assertEqual(listener.stdout.readline(), ': open\n')
            self.s.ctl('host', 'limit', '192.0.2.44', '--for', '1h')
            line = listener.stdout.readline()
            while line and not line.startswith('data: '):
                line = listener.stdout.readline()
            event = json.loads(line[6:])
            self.assertEqual(event['event_type'], 'audit')
            self.assertIn('192.0.2.44', event['audit']['what'])
        finally:
            listener.kill()
            listener.wait()
            listener.stdout.close()

    def test_description_and_metrics(self):
        status, _, doc = self.s.curl('GET', '/openapi.json', token='viewer')
        self.assertEqual(status, 200)
        self.assertEqual(doc['openapi'], '3.0.3')
        # What is described is there.
        self.assertEqual(self.s.curl('OPTIONS', f'{DATA}/wire=w1')[0], 204)
        self.assertIn('/restconf/data/sluice:sluice/wire={wire-name}', doc['paths'])
        status, _, text = self.s.curl('GET', '/metrics', token='viewer')
        self.assertEqual(status, 200)
        self.assertIn('# TYPE sluice_hosts gauge', text)

    # RFC 8040 3.1.3, 7: what somebody else has locked.
    def test_a_lock_is_respected_and_named(self):
        with socket.socket(socket.AF_UNIX) as session:
            session.connect(str(self.s.socket))
            session.sendall(b'{"command":"config open","arguments":{"mode":"exclusive"}}\n')
            self.assertTrue(json.loads(session.recv(65536))['ok'])
            self.error(self.s.curl('PUT', f'{DATA}/wire=w2/description', {'sluice:description': 'x'}), 409,
                       'lock-denied')
        self.s.wait(lambda: self.s.curl('PUT', f'{DATA}/wire=w2/description', {
            'sluice:description': 'y'})[0] in (201, 204), 'the lock outlives its session')

    def test_two_who_change_at_once(self):
        jobs = [subprocess.Popen(
            ['curl', '-s', '-o', '/dev/null', '-w', '%{http_code}', '--cacert', str(self.s.folder / 'cert.pem'),
             '-X', 'PUT', '-H', 'Authorization: Bearer token-of-an-admin', '-H',
             'Content-Type: application/yang-data+json', '--data',
             json.dumps({'sluice:prefix': [{'prefix': f'10.{i}.0.0/16'}]}),
             f'https://localhost:{self.s.port}{DATA}/inside/prefix=10.{i}.0.0%2F16'], stdout=subprocess.PIPE,
            text=True) for i in range(6)]
        for job in jobs:
            self.assertEqual(job.communicate()[0], '201')
        have = {p['prefix'] for p in self.s.curl('GET', f'{DATA}/inside')[2]['sluice:inside']['prefix']}
        self.assertTrue({f'10.{i}.0.0/16' for i in range(6)} <= have, have)


class Bounds(unittest.TestCase):
    def test_too_many_requests_are_told_so(self):
        s = Sluiced(BUILD, rate=30)
        self.addCleanup(s.close)
        s.wait(lambda: Http.listening(s.port), 'the API does not listen')
        codes = [s.curl('GET', '/restconf')[0] for _ in range(40)]
        self.assertEqual(codes[0], 200)
        self.assertIn(429, codes)
        self.assertEqual(s.curl('GET', '/restconf')[1].get('retry-after'), '10')
        # The socket goes on.
        self.assertEqual(s.ctl('show', 'version').returncode, 0)

    def test_no_plain_text_and_nothing_old(self):
        s = Sluiced(BUILD)
        self.addCleanup(s.close)
        s.wait(lambda: Http.listening(s.port), 'the API does not listen')
        plain = subprocess.run(['curl', '-s', '--max-time', '20', f'http://127.0.0.1:{s.port}/restconf'],
                               capture_output=True)
        self.assertNotEqual(plain.returncode, 0)
        with socket.create_connection(('127.0.0.1', s.port), 5) as raw:
            old = subprocess.run(['openssl', 's_client', '-connect', f'127.0.0.1:{s.port}', '-tls1_1', '-cipher',
                                  'ALL:@SECLEVEL=0'], input=b'', capture_output=True, timeout=20)
            self.assertNotEqual(old.returncode, 0)
            # With a connection open that asks for nothing it ends all the same when it is told to.
            s.process.terminate()
            self.assertEqual(s.process.wait(60), 0)

    def test_addresses_that_are_not_for_it(self):
        s = Sluiced(BUILD)
        self.addCleanup(s.close)
        s.wait(lambda: Http.listening(s.port), 'the API does not listen')
        http = f'{DATA}/api/http'
        self.assertEqual(s.curl('PATCH', f'{DATA}/wire=w1', {'sluice:wire': [
            {'name': 'w1', 'inside': 'w1-inside', 'outside': 'w1-outside'}]})[0], 204)
        for leaf, value in (('address', '0.0.0.0'), ('address', '192.0.2.1'), ('interface', 'w1-inside')):
            answer = s.curl('PUT', f'{http}/{leaf}', {f'sluice:{leaf}': value})
            self.assertEqual(answer[0], 400, (leaf, value, answer))
        self.assertEqual(s.curl('GET', f'{http}/port')[2], {'sluice:port': s.port})

    def test_it_moves_when_the_configuration_says_so(self):
        s = Sluiced(BUILD)
        self.addCleanup(s.close)
        s.wait(lambda: Http.listening(s.port), 'the API does not listen')
        other = free_port()
        configuration = json.loads((s.folder / 'sluice.json').read_text())
        configuration['sluice:sluice']['api']['http']['port'] = other
        (s.folder / 'new.json').write_text(json.dumps(configuration))
        s.ctl('config', 'load', s.folder / 'new.json')
        s.wait(lambda: Http.listening(other), 'it did not move')
        s.wait(lambda: not Http.listening(s.port), 'it is still at the old port')


if __name__ == '__main__':
    BUILD = sys.argv[1]
    sys.exit(tap.run(Http, Bounds))
