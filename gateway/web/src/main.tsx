import '@mantine/core/styles/baseline.css';
import '@mantine/core/styles/default-css-variables.css';
import '@mantine/core/styles/global.css';
import '@mantine/core/styles/UnstyledButton.css';
import '@mantine/core/styles/Button.css';
import '@mantine/core/styles/Loader.css';
import '@mantine/core/styles/Input.css';
import '@mantine/core/styles/Skeleton.css';
import './styles/theme.css';
import './styles/layout.css';
import './styles/content.css';
import './styles/tables.css';
import './styles/readiness.css';
import './styles/screens.css';
import './styles/changes.css';
import './styles/sources.css';
import './styles/settings.css';
import { MantineProvider } from '@mantine/core';
import { QueryClientProvider } from '@tanstack/react-query';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { RouterProvider } from 'react-router';
import { newQueryClient } from './api/queryClient';
import { router } from './routes';

const root = document.getElementById('root');
if (!root) throw new Error('index.html has no element with the id "root"');

// Mantine's variables and classes come from style sheets, none from inline <style> elements, so
// that a content security policy without 'unsafe-inline' holds.
createRoot(root).render(
  <StrictMode>
    <MantineProvider withCssVariables={false} withGlobalClasses={false} forceColorScheme="light">
      <QueryClientProvider client={newQueryClient()}>
        <RouterProvider router={router} />
      </QueryClientProvider>
    </MantineProvider>
  </StrictMode>,
);
