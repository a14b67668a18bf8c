import react from '@vitejs/plugin-react';
import { defineConfig, type UserConfig } from 'vite';

// `npm run dev` serves the UI with hot reload in front of a running hub; HUB says where it listens.
const hub = process.env.HUB ?? 'http://127.0.0.1:8080';

export default defineConfig(async ({ command }): Promise<UserConfig> => {
  const mock =
    command === 'serve' && process.env.MOCK ? [(await import('./dev/mock')).mockHub()] : [];
  return {
    plugins: [react(), ...mock],
    // dist/.gitkeep keeps the folder that the gateway embeds; public/ copies it back on every build.
    build: { target: 'es2022', reportCompressedSize: false, chunkSizeWarningLimit: 700 },
    server: {
      // The name that the sign-in link has too: a cookie belongs to a name, whatever the port.
      host: '127.0.0.1',
      proxy: process.env.MOCK ? undefined : { '/v1': hub, '/auth': hub },
    },
  };
});
