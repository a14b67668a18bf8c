import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

// `npm run dev` serves the UI with hot reload in front of a running hub; HUB says where it listens.
const hub = process.env.HUB ?? 'http://127.0.0.1:8080';

export default defineConfig({
  plugins: [react()],
  // The gateway embeds dist, so the folder is kept by a file, which public/ puts back on every build.
  build: { target: 'es2022', reportCompressedSize: false, chunkSizeWarningLimit: 700 },
  server: {
    // The name that the sign-in link has too: a cookie belongs to a name, whatever the port.
    host: '127.0.0.1',
    proxy: { '/v1': hub, '/auth': hub, '/docs': hub },
  },
});
